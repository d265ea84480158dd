"""Data sets from a user's Python file with `load_data()`, Polygraphy's convention."""

import inspect
from collections.abc import Callable
from os import PathLike, fspath
from pathlib import Path
from types import ModuleType
from typing import Any

from quantlab.data.stream import Stream
from quantlab.errors import InputError
from quantlab.python_file import run_python_file

_DEFAULT = "load_data"


def script(source: str | PathLike[str], *, name: str | None = None) -> Stream:
    """Run a Python file and make a data set of what its function yields.

    Parameters
    ----------
    source
        «loader.py», or «loader.py:function»; the function is `load_data` by default, takes no arguments, and
        returns or yields {input name: array}. It is called once a pass. Errors it raises itself come through
        unchanged.
    name
        The set's name; by default the file's stem.

    Raises
    ------
    InputError
        When the file is missing or cannot be run, or has no such function.
    """
    path, function = _split(fspath(source))
    if not path.is_file():
        raise InputError(f"There is no Python file {path}; the data script is given as FILE.py or FILE.py:FUNCTION.")
    load = _function(run_python_file(path, "The data script"), function, path)
    return Stream(load, name or path.stem)


def _split(source: str) -> tuple[Path, str]:
    path, colon, function = source.rpartition(":")
    if colon and function.isidentifier() and not Path(source).is_file():
        return Path(path), function
    return Path(source), _DEFAULT


def _function(module: ModuleType, name: str, path: Path) -> Callable[[], Any]:
    found: object = getattr(module, name, None)
    convention = "it must define `def load_data():` that yields {input name: array}"
    if found is None:
        raise InputError(f"The data script {path} has no {name}(): {convention}, or name another function after «:».")
    if not callable(found):
        raise InputError(f"«{name}» in the data script {path} is no function: {convention}.")
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise InputError(f"{name}() in the data script {path} needs arguments ({error}): {convention}.") from error
    return found
