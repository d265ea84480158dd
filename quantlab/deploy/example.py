"""Runs a bundle's `run.py` as its user would, in a process of its own, and compares with quantlab's engine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from quantlab import engines
from quantlab.data import Preprocess
from quantlab.engines.engine import TensorSpec
from quantlab.errors import InputError, MachineError
from quantlab.graph.model import Model
from quantlab.numerics.arrays import AnyArray
from quantlab.numerics.error_sums import ErrorSums

_SECONDS = 300
_CLOSE_DB = 30.0
"""Kernels may sum in another order with other threads, and a rounding then moves a step of INT8; another input gives 0 dB."""


def try_example(program: Path, model: Model, preprocess: Preprocess | None) -> str:
    """Run the example on made-up pixels or values; return what was compared.

    Parameters
    ----------
    program
        The bundle's `run.py`, whose text must be quantlab's own: it is run.
    model, preprocess
        The bundle's.

    Raises
    ------
    InputError
        When the example fails, or its outputs are not those of quantlab's own engine.
    MachineError
        When it does not end.
    """
    with engines.ort(model) as engine, TemporaryDirectory(prefix="quantlab-") as folder:
        source, result = Path(folder) / "input.npz", Path(folder) / "output.npz"
        image = None if preprocess is None else _image(preprocess, engine.inputs)
        if preprocess is not None and image is not None:
            np.savez(source, pixels=image)
            sample = preprocess.apply_array(image)[np.newaxis]
            feeds = {name: _filled(sample, spec) for name, spec in engine.inputs.items()}
        else:
            feeds = {name: _values(spec) for name, spec in engine.inputs.items()}
            np.savez(source, **feeds)  # type: ignore[arg-type]
        _run(program, source, result, raw=image is None)
        expected = {name: np.array(value) for name, value in engine.run(feeds).items()}
        worst = _worst(result, expected, samples=1 if image is not None else None)
    same = "the same bits" if worst == np.inf else f"{worst:.0f} dB"
    return f"run.py ran on {'pixels' if image is not None else 'values'} and gave what quantlab's engine gives ({same})"


def _image(preprocess: Preprocess, inputs: dict[str, TensorSpec]) -> AnyArray | None:
    """Return uint8 [H,W,C] that the preprocessing brings to the network's size; None where that is not known."""
    if len(inputs) != 1:
        return None
    (spec,) = inputs.values()
    at = (2, 3) if preprocess.layout == "NCHW" else (1, 2)
    sides = [spec.shape[i] if len(spec.shape) == 4 else None for i in at]
    known = [side for side in sides if isinstance(side, int)]
    if preprocess.resize is not None:
        known = [61, 83] if preprocess.crop is None else [2 * side for side in preprocess.crop]
    elif preprocess.crop is not None:
        known = [side + 5 for side in preprocess.crop]
    if len(known) != 2:
        return None
    return np.random.default_rng(0).integers(0, 256, (*known, preprocess.channels), dtype=np.uint8)


def _filled(sample: AnyArray, spec: TensorSpec) -> AnyArray:
    rows = spec.shape[0] if spec.shape and isinstance(spec.shape[0], int) else 1
    return np.repeat(sample, rows, axis=0)


def _values(spec: TensorSpec) -> AnyArray:
    """Return small made-up values; a free batch is 1.

    Raises
    ------
    InputError
        When another dimension is free.
    """
    free = [size for size in spec.shape[1:] if not isinstance(size, int)]
    if free:
        raise InputError(
            f"Input «{spec}» has free dimensions, so no example can be made up for it: declare --preprocess."
        )
    shape = tuple(size if isinstance(size, int) else 1 for size in spec.shape)
    if spec.dtype.kind != "f":
        return np.ones(shape, spec.dtype)
    return np.random.default_rng(0).standard_normal(shape).astype(spec.dtype)


def _run(program: Path, source: Path, result: Path, *, raw: bool) -> None:
    # -I: neither the user's own modules nor files that lie in the bundle are imported; -B: nothing is left there.
    command = [sys.executable, "-I", "-B", str(program.absolute()), str(source), "--save", str(result)]
    try:
        done = subprocess.run(
            [*command, *(["--raw"] if raw else [])],
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=_quiet(),
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise MachineError(f"The bundle's {program.name} did not end within {_SECONDS} s.") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise InputError(f"The bundle's {program.name} fails: {lines[-1] if lines else f'exit code {done.returncode}'}")


def _quiet() -> dict[str, str]:
    return {**os.environ, "PYTHONUTF8": "1"}


def _worst(result: Path, expected: dict[str, AnyArray], *, samples: int | None) -> float:
    """Return the lowest SQNR in dB of the example's outputs; infinite for the same bits."""
    worst = float(np.inf)
    with np.load(result, allow_pickle=False) as found:
        for name, value in expected.items():
            want = value[:samples] if samples is not None and value.ndim else value
            if name not in found.files or found[name].shape != want.shape or found[name].dtype != want.dtype:
                raise InputError(f"The bundle's example gives another output «{name}» than quantlab's engine.")
            if not np.array_equal(found[name], want, equal_nan=want.dtype.kind == "f"):
                worst = min(worst, ErrorSums.of(want.astype(np.float32), found[name].astype(np.float32)).sqnr_db)
    if worst < _CLOSE_DB:
        raise InputError(
            f"The bundle's example gives other outputs than quantlab's engine ({worst:.1f} dB): its input differs."
        )
    return worst
