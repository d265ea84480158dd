"""What quantlab raises: sentences for people, each kind with the exit code that the command line returns."""

LONGEST = 1500
"""Characters of a message that are kept: what it quotes may be a stranger's, and as long as a file."""

_END = 400
_NO_MEMORY = (
    "cannot allocate memory",
    "failed to allocate memory",
    "bad_alloc",
    "bad allocation",
    "can't start new thread",
    "failed to map segment",
)
"""In errors of libraries and of the system, which have no class of their own for it."""


class QuantlabError(Exception):
    """Base of every error that quantlab raises on purpose; its text is one sentence a user can act on.

    Exit codes: 0 success, 1 a check failed (lint findings, a comparison below its limit), 2 wrong usage,
    4 bad input, 5 stale or mismatched artefact, 6 the machine (disk full, missing package), 75 busy: the same again later,
    130 interrupted.
    Code 3 is kept for «inconclusive».
    """

    exit_code = 1

    def __init__(self, text: str = "") -> None:
        super().__init__(text if len(text) <= LONGEST else f"{text[: LONGEST - _END]} … {text[-_END:]}")


class UsageError(QuantlabError):
    """An argument that cannot mean anything: an unknown method, a contradictory option."""

    exit_code = 2


class InputError(QuantlabError):
    """A file, model, batch or table that cannot be used as it is."""

    exit_code = 4


class StaleError(QuantlabError):
    """An artefact made from another model, other data or other preprocessing than the one at hand."""

    exit_code = 5


class BusyError(StaleError):
    """Another command is at work in the same place: the same command, given later, may work (EX_TEMPFAIL of sysexits.h)."""

    exit_code = 75


class MachineError(QuantlabError):
    """The machine fell short: no space, no permission, a package that is not installed."""

    exit_code = 6


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that the machine's memory is used up."""
    return isinstance(error, MemoryError) or (
        not isinstance(error, QuantlabError) and any(words in str(error).lower() for words in _NO_MEMORY)
    )
