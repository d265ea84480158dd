"""Where errors become sentences and exit codes: nothing gets past here as a traceback."""

import errno
import os
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from quantlab.cli.console import print_error
from quantlab.errors import InputError, MachineError, QuantlabError

INTERNAL, INTERRUPTED = 70, 130
_FULL = {errno.ENOSPC: "no space is left on the device", errno.EDQUOT: "the disk quota is used up"}
_SCRIPT = "quantlab_script_"  # how `data.script` names the module of a user's file


class Commands(TyperGroup):
    """A group of commands whose errors are printed as one sentence each."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; end the process with its exit code."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except BrokenPipeError:
            _leave_quietly()
        except KeyboardInterrupt:
            print_error("Interrupted; nothing half-written was left.", label="")
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            if hasattr(error, "show") and hasattr(error, "exit_code"):  # typer's own, for wrong usage
                raise
            raise typer.Exit(_explain(error, traced=_debugging(ctx))) from None


def _explain(error: Exception, *, traced: bool) -> int:
    if traced:
        traceback.print_exception(error)
    known = error if isinstance(error, QuantlabError) else _translated(error)
    if known is not None:
        print_error(str(known))
        return known.exit_code
    print_error(
        f"internal error (please report it, with what `quantlab --debug …` prints): {type(error).__name__}: "
        f"{_first_line(error)}"
    )
    return INTERNAL


def _translated(error: Exception) -> QuantlabError | None:
    """Return what a system's or a user's own error means; None if it is quantlab's fault."""
    place = _script_line(error)
    if place is not None:
        return InputError(f"The data script failed in {place}: {type(error).__name__}: {_first_line(error)}.")
    if isinstance(error, MemoryError):
        return MachineError("The memory is used up; give a smaller --budget or --batch, or a machine with more.")
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return InputError(f"There is no file or folder '{os.fsdecode(error.filename)}'.")
    if isinstance(error, OSError):
        reason = _FULL.get(error.errno or 0, error.strerror or str(error))
        where = f" ('{os.fsdecode(error.filename)}')" if isinstance(error.filename, str | bytes) else ""
        return MachineError(f"The system refuses{where}: {reason}; nothing half-written was left.")
    return None


def _script_line(error: Exception) -> str | None:
    """Return where in the user's own data script an error came up."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if _module(frame).startswith(_SCRIPT):
            return f"'{Path(frame.f_code.co_filename)}', line {line}"
    return None


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0].rstrip(".")


def _debugging(ctx: Any) -> bool:
    return bool(ctx.params.get("debug")) or os.environ.get("QUANTLAB_DEBUG", "") not in ("", "0")


def _leave_quietly() -> NoReturn:
    """End as a program does whose reader went away (`quantlab … | head`)."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - the interpreter flushes it at exit
    raise typer.Exit(1) from None
