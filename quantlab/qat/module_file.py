"""A user's own module, from the Python file that builds it and the file with its weights."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 - only the error: weights_only unpickles no objects
from typing import Any

import torch
from torch import nn

from quantlab.errors import InputError, QuantlabError
from quantlab.python_file import run_python_file
from quantlab.qat.export_example import first_sentence

_SEED = 0
_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
_UNREADABLE = (RuntimeError, UnpicklingError, EOFError, ValueError, KeyError, OSError, AttributeError)


def read_module(file: Path, function: str, weights: Path | None = None) -> nn.Module:
    """Return what a function of a Python file builds.

    The file is run with torch's generator at seed 0, so weights that it draws are the same ones each time; the
    caller's generator stays as it was.

    Parameters
    ----------
    file, function
        The function takes no argument and returns a module.
    weights
        A state dict to load into it, or a checkpoint with one under «state_dict» or «model»; read without running code.

    Raises
    ------
    InputError
        When a file is missing or cannot be read, the function fails or returns something else, or the weights do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        module = _built(file, function)
    if weights is not None:
        _load(module, weights)
    return module


def read_function(file: Path, function: str) -> Callable[..., Any]:
    """Return a function of a Python file, which is run for it.

    Raises
    ------
    InputError
        When there is no such file or function, or the file fails.
    """
    if not file.is_file():
        raise InputError(f"There is no file '{file}'.")
    try:
        found = getattr(run_python_file(file, "The file"), function, None)
    except QuantlabError:
        raise
    except Exception as error:  # whatever the user's own file raises
        raise InputError(f"'{file}' could not be run: {type(error).__name__}: {first_sentence(error)}.") from error
    if not callable(found):
        raise InputError(f"'{file}' has no function «{function}».")
    return found


def _built(file: Path, function: str) -> nn.Module:
    build = read_function(file, function)
    try:
        found = build()
    except QuantlabError:
        raise
    except Exception as error:  # whatever the user's own file raises
        raise InputError(
            f"«{function}» in '{file}' could not build the module: {type(error).__name__}: {first_sentence(error)}."
        ) from error
    if not isinstance(found, nn.Module):
        raise InputError(f"«{function}» in '{file}' returns {type(found).__name__}, not a torch.nn.Module.")
    return found


def _load(module: nn.Module, path: Path) -> None:
    state = _state_dict(path)
    try:
        module.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError) as error:
        own = module.state_dict()
        missing, unknown = [n for n in own if n not in state], [n for n in state if n not in own]
        parts = [
            *([f"{len(missing)} tensors are missing, the first is «{missing[0]}»"] if missing else []),
            *([f"{len(unknown)} are of no layer, the first is «{unknown[0]}»"] if unknown else []),
        ]
        reason = "; ".join(parts) or "shapes differ: " + " ".join(str(error).split())[-160:]
        raise InputError(f"The weights in '{path}' do not fit {type(module).__name__}: {reason}.") from error


def _state_dict(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise InputError(f"There is no file '{path}' with the module's weights.")
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(
            f"'{path}' is no file of torch.save ({', '.join(_SUFFIXES)}): load other kinds in the function that builds the "
            "module."
        )
    try:
        with warnings.catch_warnings():  # of pickles that it refuses anyway
            warnings.simplefilter("ignore", UserWarning)
            found = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise InputError(
            f"'{path}' cannot be read as weights alone ({type(error).__name__}: {first_sentence(error):.120}): write it with "
            "torch.save(module.state_dict(), …), as objects in a file could run code."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise InputError(f"'{path}' holds no state dict: write it with torch.save(module.state_dict(), …).")
    return found
