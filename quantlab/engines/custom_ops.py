"""Operators of the user's own for ONNX Runtime: from a shared library, or from a Python file that names one."""

import functools
import re
from collections.abc import Iterable
from os import PathLike, fspath
from pathlib import Path
from types import ModuleType
from typing import Any

from quantlab.errors import InputError
from quantlab.python_file import run_python_file

_UNKNOWN = re.compile(r"(\S+)\(-?\d+\) is not a registered function/op")


def libraries(sources: Iterable[str | PathLike[str]]) -> tuple[str, ...]:
    """Return the whole paths of shared libraries, or Python files, with operators: what a worker needs to register them too.

    Raises
    ------
    InputError
        When a file is missing.
    """
    return tuple(str(_present(Path(fspath(source)))) for source in sources)


def register(settings: Any, source: str) -> None:
    """Let a session's options know the operators of a library, or of the library that a Python file names.

    A Python file defines its operators (`onnxruntime_extensions.onnx_op`) and `library()`, which returns the library
    that hands them to ONNX Runtime. It is run once a process: operators that are defined twice are refused.

    Raises
    ------
    InputError
        When a Python file cannot be run or has no `library()`, or ONNX Runtime cannot load the library.
    """
    library = _library(_present(Path(source)))
    try:
        settings.register_custom_ops_library(library)
    except Exception as error:  # ONNX Runtime's errors share no base class of their own
        reason = str(error).strip().splitlines()[0].rpartition("with error: ")[2]
        raise InputError(f"ONNX Runtime cannot load the custom operators in '{library}': {reason}.") from error


def advice(reason: str) -> str:
    """Return the sentence that follows `reason` where it is an operator that ONNX Runtime does not know; else nothing."""
    found = _UNKNOWN.search(reason)
    if found is None:
        return ""
    return (
        f". If «{found[1]}» is an operator of yours, pass the library that implements it: custom_ops=('ops.so',) in "
        "Python, --custom-ops ops.so on the command line."
    )


def _present(source: Path) -> Path:
    if not source.is_file():
        raise InputError(f"There is no file '{source}' with custom operators.")
    return source.resolve()


def _library(source: Path) -> str:
    if source.suffix != ".py":
        return str(source)
    library = getattr(_run(source), "library", None)
    if not callable(library):
        raise InputError(f"'{source}' has no library(): it must return the path of the custom operators' library.")
    return _library(_present(Path(library())))


@functools.cache
def _run(path: Path) -> ModuleType:
    """Execute the file, once a process: operators that are defined twice are refused."""
    try:
        return run_python_file(path, "The file of custom operators")
    except InputError:
        raise
    except Exception as error:  # whatever the user's own file raises
        raise InputError(
            f"The file of custom operators {path} could not be loaded: {str(error) or type(error).__name__}."
        ) from error
