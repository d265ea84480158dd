"""A training on disk: written whole, read without running code, refused where another training is asked for."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 - only the error: weights_only unpickles no objects
from typing import Any

import torch

from quantlab.atomic import atomic_path
from quantlab.errors import InputError, StaleError

NAME = "checkpoint.pt"

_FORMAT, _VERSION = "quantlab-training", 1
_UNREADABLE = (RuntimeError, UnpicklingError, EOFError, ValueError, KeyError, OSError, AttributeError)


def write_checkpoint(folder: Path, asked: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write tensors and plain values; a reader sees the former checkpoint or this one.

    Parameters
    ----------
    asked
        What decides the final weights; JSON values.
    state
        What `read_checkpoint` gives back.
    """
    whole = io.BytesIO()
    torch.save({"format": _FORMAT, "version": _VERSION, "asked": dict(asked), "state": dict(state)}, whole)
    with atomic_path(folder / NAME) as temporary:
        temporary.write_bytes(whole.getbuffer())


def read_checkpoint(folder: Path, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the state, its tensors on the CPU; None where there is no checkpoint.

    Raises
    ------
    InputError
        When the file is damaged or something else.
    StaleError
        When it belongs to another training.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"'{path}' is no checkpoint or damaged ({reason:.120}): remove it to start anew.") from error
    if not isinstance(found, dict) or found.get("format") != _FORMAT or found.get("version") != _VERSION:
        raise InputError(f"'{path}' is no checkpoint of quantlab's version {_VERSION}: remove it to start anew.")
    other = [name for name in asked if found["asked"].get(name) != asked[name]]
    if other:
        raise StaleError(
            f"'{path}' belongs to another training ({', '.join(other)} differ): give another folder, or `fresh=True` to "
            "start anew."
        )
    state: dict[str, Any] = found["state"]
    return state
