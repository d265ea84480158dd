"""What quantlab raises: sentences for people, each kind with the exit code that the command line returns."""

LONGEST = 1500
"""Characters of a message that are kept: what it quotes may be a stranger's, and as long as a file."""

_END = 400


class QuantlabError(Exception):
    """Base of every error that quantlab raises on purpose; its text is one sentence a user can act on.

    Exit codes: 0 success, 1 a check failed (lint findings, a comparison below its limit), 2 wrong usage,
    4 bad input, 5 stale or mismatched artefact, 6 the machine (disk full, missing package), 130 interrupted.
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


class MachineError(QuantlabError):
    """The machine fell short: no space, no permission, a package that is not installed."""

    exit_code = 6
