"""Tells whether an exported model computes what its module does."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from quantlab.engines import ort
from quantlab.errors import InputError
from quantlab.graph.model import Model
from quantlab.numerics.arrays import AnyArray
from quantlab.qat.export_example import Arguments, outputs_of

_KEY = "quantlab.export"
_TOLERANCE = 1e-3  # of an output's largest magnitude; float32 networks of a hundred layers stay below 1e-4
_HALF_TOLERANCE = 2e-2  # 16-bit floats have 11 bits or fewer
_LEAST_ALLOWED = 1e-5


@dataclass(frozen=True, slots=True)
class ExportDifference:
    """How far ONNX Runtime is from the module.

    Attributes
    ----------
    largest
        The largest difference of a value, in the outputs' own units.
    magnitude
        The largest magnitude that the module gave for the output with that difference.
    """

    largest: float
    magnitude: float

    @property
    def metadata(self) -> dict[str, str]:
        """As a model's metadata keep it."""
        return {_KEY: json.dumps({"largest_difference": self.largest, "magnitude": self.magnitude})}


def export_difference(model: Model) -> ExportDifference | None:
    """Return how far an exported model was from its module on the example; None for a model that `export` did not make."""
    for entry in model.proto.metadata_props:
        if entry.key == _KEY:
            try:
                stored = json.loads(entry.value)
                return ExportDifference(float(stored["largest_difference"]), float(stored["magnitude"]))
            except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
                raise InputError(f"The model's metadata «{_KEY}» are damaged: export it again.") from error
    return None


def check_same(model: Model, module: nn.Module, cases: Iterable[Arguments]) -> ExportDifference:
    """Return the largest difference between a model in ONNX Runtime and its module, which is in eval mode.

    Raises
    ------
    InputError
        When they differ by more than 0.001 of an output's largest magnitude (16-bit floats: 0.02), or ONNX Runtime
        cannot run the model.
    """
    worst = ExportDifference(0.0, 0.0)
    with ort(model, threads=torch.get_num_threads()) as engine:
        for case in cases:
            exact = [value.detach().cpu() for value in outputs_of(module, case).values()]
            feeds = {
                name: value.detach().cpu().numpy()
                for name, value in zip(case.names, case.tensors, strict=True)
                if name in engine.inputs  # an input that nothing reads may be gone
            }
            got = engine.run(feeds)
            for name, want in zip(engine.outputs, exact, strict=True):
                found = _difference(want.double().numpy(), np.asarray(got[name], np.float64))
                if found.largest > _allowed(want, found.magnitude):
                    raise InputError(_wrong(name, found, module, case))
                worst = max(worst, found, key=lambda difference: difference.largest)
    return worst


def _difference(exact: AnyArray, got: AnyArray) -> ExportDifference:
    if exact.shape != got.shape:
        return ExportDifference(float("inf"), float("nan"))
    finite = np.isfinite(exact)
    magnitude = float(np.abs(exact[finite]).max(initial=0.0))
    if not np.array_equal(exact[~finite], got[~finite], equal_nan=True) or not np.isfinite(got[finite]).all():
        return ExportDifference(float("inf"), magnitude)
    return ExportDifference(float(np.abs(exact[finite] - got[finite]).max(initial=0.0)), magnitude)


def _allowed(exact: torch.Tensor, magnitude: float) -> float:
    if not exact.is_floating_point():
        return 0.0
    return _LEAST_ALLOWED + magnitude * (_HALF_TOLERANCE if exact.element_size() < 4 else _TOLERANCE)


def _wrong(name: str, found: ExportDifference, module: nn.Module, case: Arguments) -> str:
    what = (
        f"The exported model gives another «{name}» than the module for a batch of {case.batch}: the values differ by up "
        f"to {found.largest:.3g} where they reach {found.magnitude:.3g}"
    )
    if _is_random(module, case):
        return f"{what}. The module itself gives other values each time it runs: is a dropout on in eval mode?"
    return (
        f"{what}. The exporter has taken something for a constant that depends on the input, most often a size in Python "
        "numbers or a branch: write it with tensor operators, or try the other exporter."
    )


def _is_random(module: nn.Module, case: Arguments) -> bool:
    pairs: Mapping[str, torch.Tensor] = outputs_of(module, case)
    return any(not torch.equal(pairs[name], value) for name, value in outputs_of(module, case).items())
