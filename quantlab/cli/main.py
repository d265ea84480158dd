"""The command `quantlab` as a process: its exit code whatever happens, from the first import to the last flush."""

import io
import os
import signal
import sys
import threading
import warnings
from types import FrameType

INTERRUPTED, CLOSED_PIPE, MACHINE = 130, 141, 6
STOPPED = "Interrupted; nothing half-written was left."


def main() -> None:
    """Run the command line with the process's arguments, and exit."""
    _heed_one_interrupt()
    try:
        code = _ended()
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
        sys.stderr.write(f"{STOPPED}\n")
    except BrokenPipeError:
        code = CLOSED_PIPE
        drop_output()
    except OSError as error:
        code = MACHINE
        drop_output()
        sys.stderr.write(f"Error: The output cannot be written: {error.strerror or error}.\n")
    sys.exit(code)


def drop_output() -> None:
    """Let what is still to be written to stdout vanish: it takes no more, and the interpreter would complain at exit."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # no file behind it
        sys.stdout = io.StringIO()


def _heed_one_interrupt() -> None:
    """Let the first Ctrl-C stop the command, and further ones not stop it from cleaning up; one that is ignored stays so."""
    ours = threading.current_thread() is threading.main_thread()
    if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)


def _stop(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _ended() -> int:
    """Return the exit code of the command; imported here, as an interrupt may come while modules load."""
    from quantlab.cli.app import app
    from quantlab.cli.memory_bound import bound_memory

    bound_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may lack «, and a name may be no text
    warnings.filterwarnings("ignore", "Image size .* exceeds limit")  # Pillow's; the sentence of the refusal says it
    try:
        app(prog_name="quantlab")
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # what rich and typer make of a closed pipe
            return CLOSED_PIPE
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0
