"""The command line of this process, as artefacts and locks name it."""

import sys
from pathlib import Path


def command_line() -> tuple[str, ...]:
    """Return the program's name, without its folder, and its arguments."""
    program = Path(sys.argv[0] or "python").name
    return ("quantlab" if program == "__main__.py" else program, *sys.argv[1:])
