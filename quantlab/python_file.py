"""Runs a Python file of the user's own."""

import importlib.machinery
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from quantlab.errors import InputError

MODULE = "quantlab_script_"
"""How the modules of users' files begin: the command line tells their errors from its own by it."""


def run_python_file(path: Path, what: str) -> ModuleType:
    """Execute a file as a module; read as source, so that no bytecode is left beside it. `what` it is goes into messages.

    Errors that the file raises itself come through unchanged, but for those of a missing module or file.

    Raises
    ------
    InputError
        When it cannot be read as Python, or imports or opens what is not there.
    """
    loader = importlib.machinery.SourceFileLoader(f"{MODULE}{path.stem}", str(path))
    try:
        code = loader.source_to_code(loader.get_data(str(path)), str(path))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{what} {path} cannot be read as Python: {error}.") from error
    module = ModuleType(loader.name)
    module.__file__ = str(path)
    sys.modules[loader.name] = module  # where dataclasses, for one, look their module up
    try:
        with _siblings_importable(path):
            exec(code, module.__dict__)
    except (ImportError, OSError) as error:
        raise InputError(f"{what} {path} could not be loaded: {error}.") from error
    return module


@contextmanager
def _siblings_importable(path: Path) -> Iterator[None]:
    """Let the file import those beside it, as `python FILE.py` would."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
