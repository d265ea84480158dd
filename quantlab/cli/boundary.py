"""Where errors become sentences and exit codes: nothing gets past here as a traceback."""

import errno
import os
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

import typer
from typer.core import TyperGroup

from quantlab.cli.console import print_error, print_error_json
from quantlab.cli.main import CLOSED_PIPE, INTERRUPTED, STOPPED, drop_output
from quantlab.errors import InputError, MachineError, QuantlabError, is_out_of_memory
from quantlab.python_file import MODULE

INTERNAL = 70
_RESUMED = ("run", "collect", "compare", "tune", "qat")
"""Commands that keep what they have finished."""

_UNREADABLE = "is not readable."
"""How typer's sentence on a file ends that is there and cannot be read: no wrong usage, but the machine's refusal."""
_HELP = "NoArgsIsHelpError"
"""Typer's error for a group without a command: it shows the help."""
_FULL = {errno.ENOSPC: "no space is left on the device", errno.EDQUOT: "the disk quota is used up"}
_JSON = "quantlab.json"


class Commands(TyperGroup):
    """A group of commands whose errors are printed as one sentence each."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Note whether JSON was asked for, as an error may come before the command has read its options."""
        ctx.meta[_JSON] = "--json" in args
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            usage = _usage_code(error)
            if usage is None or type(error).__name__ == _HELP:
                raise
            raise _misused(ctx, error, usage) from None

    def invoke(self, ctx: Any) -> Any:
        """Run the command; end the process with its exit code."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except BrokenPipeError:
            drop_output()
            raise typer.Exit(CLOSED_PIPE) from None
        except KeyboardInterrupt:
            again = " Give the same command again to go on." if ctx.invoked_subcommand in _RESUMED else ""
            code, sentence = INTERRUPTED, f"{STOPPED}{again}"
            print_error(sentence, label="")
        except (Exception, SystemExit) as error:
            if isinstance(error, SystemExit) and _script_line(error) is None:
                raise
            usage = _usage_code(error)
            if usage is not None and not _usage(error).endswith(_UNREADABLE):
                if type(error).__name__ == _HELP:
                    raise
                raise _misused(ctx, error, usage) from None
            code, sentence = _explain(error, traced=_debugging(ctx))
        _print_json(ctx, sentence, code)
        raise typer.Exit(code)


def _usage_code(error: Any) -> int | None:
    """Return the exit code of an error of typer's own, for wrong usage; None for others."""
    return int(error.exit_code) if hasattr(error, "show") and hasattr(error, "exit_code") else None


def _misused(ctx: Any, error: Any, code: int) -> typer.Exit:
    """Say an error of typer's own as every other, with the command whose help tells more; return what ends the process."""
    _print_json(ctx, _usage(error), code)
    print_error(f"{_usage(error).rstrip('.')}. See `{(getattr(error, 'ctx', None) or ctx).command_path} --help`.")
    return typer.Exit(code)


def _usage(error: Any) -> str:
    return str(error.format_message() if hasattr(error, "format_message") else error)


def _print_json(ctx: Any, sentence: str, code: int) -> None:
    if ctx.meta.get(_JSON):
        print_error_json(sentence, code)


def _explain(error: BaseException, *, traced: bool) -> tuple[int, str]:
    if traced:
        traceback.print_exception(error)
    known = error if isinstance(error, QuantlabError) else _translated(error)
    code, sentence = (INTERNAL, _internal(error)) if known is None else (known.exit_code, str(known))
    if isinstance(error.__cause__, PermissionError):  # whoever read the file: it is the machine's refusal
        code = MachineError.exit_code
    print_error(sentence)
    return code, sentence


def _internal(error: BaseException) -> str:
    what = "internal error (please report it, with what `quantlab --debug …` prints)"
    return f"{what}: {type(error).__name__}: {_first_line(error)}"


def _translated(error: BaseException) -> QuantlabError | None:
    """Return what a system's or a user's own error means; None if it is quantlab's fault."""
    place = _script_line(error)
    if place is not None and isinstance(error, SystemExit):
        return InputError(f"Your Python file ended itself in {place}: sys.exit({error.code!r}).")
    if place is not None:
        return InputError(f"Your Python file failed in {place}: {type(error).__name__}: {_first_line(error)}.")
    if _usage_code(error) is not None:
        return MachineError(f"{_usage(error).removesuffix('.')}: permission is denied.")
    if is_out_of_memory(error):
        return MachineError("The memory is used up; give a smaller --budget or --batch, or a machine with more.")
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return InputError(f"There is no file or folder '{os.fsdecode(error.filename)}'.")
    if isinstance(error, OSError):
        reason = _FULL.get(error.errno or 0, error.strerror or str(error))
        where = f" ('{os.fsdecode(error.filename)}')" if isinstance(error.filename, str | bytes) else ""
        return MachineError(f"The system refuses{where}: {reason}; nothing half-written was left.")
    return None


def _script_line(error: BaseException) -> str | None:
    """Return where in a Python file of the user's own an error came up."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if _module(frame).startswith(MODULE):
            return f"'{Path(frame.f_code.co_filename)}', line {line}"
    return None


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0].rstrip(".")


def _debugging(ctx: Any) -> bool:
    return bool(ctx.params.get("debug")) or os.environ.get("QUANTLAB_DEBUG", "") not in ("", "0")
