"""Data sets from a user's Python file with `load_data()`, Polygraphy's convention."""

import importlib.machinery
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from types import ModuleType
from typing import Any

from quantlab.data.stream import Stream
from quantlab.errors import InputError

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
    load = _function(_run(path), function, path)
    return Stream(load, name or path.stem)


def _split(source: str) -> tuple[Path, str]:
    path, colon, function = source.rpartition(":")
    if colon and function.isidentifier() and not Path(source).is_file():
        return Path(path), function
    return Path(source), _DEFAULT


def _run(path: Path) -> ModuleType:
    """Execute the file as a module; read as source, so that no bytecode is left beside it."""
    if not path.is_file():
        raise InputError(f"There is no Python file {path}; the data script is given as FILE.py or FILE.py:FUNCTION.")
    loader = importlib.machinery.SourceFileLoader(f"quantlab_script_{path.stem}", str(path))
    try:
        code = loader.source_to_code(loader.get_data(str(path)), str(path))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"The data script {path} cannot be read as Python: {error}.") from error
    module = ModuleType(loader.name)
    module.__file__ = str(path)
    sys.modules[loader.name] = module  # where dataclasses, for one, look their module up
    try:
        with _siblings_importable(path):
            exec(code, module.__dict__)
    except (ImportError, OSError) as error:
        raise InputError(f"The data script {path} could not be loaded: {error}.") from error
    return module


@contextmanager
def _siblings_importable(path: Path) -> Iterator[None]:
    """Let the script import the files beside it, as `python FILE.py` would."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


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
