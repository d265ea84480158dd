"""What a network does with some inputs: how sure and how different its answers are, and what its first BatchNorms get."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np
from typing_extensions import Self

from quantlab.comparison.fixed_batch import cut, fixed_rows, run_filled
from quantlab.data.batch import Batch
from quantlab.diagnosis.batch_norms import expectations
from quantlab.engines.engine import TensorSpec
from quantlab.engines.onnx_runtime import OrtEngine
from quantlab.engines.opening import plain_network
from quantlab.engines.ort_session import OrtOptions
from quantlab.graph.model import Model
from quantlab.metrics.classes import find_class_scores
from quantlab.numerics.arrays import F64, AnyArray

_BATCH = 8
_TINY = 1e-30
_MOST = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What the network did.

    Attributes
    ----------
    scores
        float64[samples, classes], logits or the logarithms of probabilities; None without class scores.
    mismatch
        How far the inputs of the first BatchNorms are from training's, in nats; None where none is left in the graph.
    """

    scores: F64 | None
    mismatch: float | None

    def __bool__(self) -> bool:
        return self.scores is not None or self.mismatch is not None


class Witness:
    """The network, with the inputs of its first BatchNorms as outputs too."""

    def __init__(self, model: Model, options: OrtOptions | None) -> None:
        self._expected = expectations(model)
        network = plain_network(model)
        own = tuple(output.name for output in network.proto.graph.output)
        self._own = own
        names = dict.fromkeys((*own, *(e.tensor for e in self._expected)))
        self._engine = OrtEngine(network, outputs=tuple(names), options=options)

    def hear(self, inputs: Mapping[str, AnyArray]) -> Heard:
        """Return what the network does with these inputs."""
        specs: Mapping[str, TensorSpec] = self._engine.inputs
        cast = Batch({name: np.asarray(value, specs[name].dtype) for name, value in inputs.items()})
        rows: dict[str, list[AnyArray]] = {name: [] for name in self._engine.outputs}
        for part, _ in cut([(cast, None)], fixed_rows(self._engine) or _BATCH):
            for name, values in run_filled(self._engine, part).items():
                rows[name].append(np.array(values))
        found = {name: np.concatenate(parts) for name, parts in rows.items() if parts[0].ndim}
        gaps = [e.mismatch(found[e.tensor]) for e in self._expected if found[e.tensor].ndim > 1]
        gaps = [gap for gap in gaps if np.isfinite(gap)]
        scores = find_class_scores({name: found[name] for name in self._own if name in found}, None)
        known = scores is not None and len(scores) == cast.samples and scores.dtype.kind == "f"
        return Heard(_logits(scores) if known and scores is not None else None, float(np.mean(gaps)) if gaps else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._engine.close()


def probabilities(scores: F64) -> F64:
    """Return the softmax of each row."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def information(scores: F64) -> F64:
    """Return KL(answer ‖ mean answer) of each sample, in nats: their mean is the mutual information."""
    answers = probabilities(scores)
    return np.sum(answers * (np.log(answers + _TINY) - np.log(answers.mean(axis=0) + _TINY)), axis=1)


def gain(given: F64, other: F64) -> tuple[float, float]:
    """Return by how much the other scores tell more of the samples, in nats a sample, and in standard errors of that.

    It is the least of three: of the scores as they are, and of both brought to the spread of either. A network without
    normalisation multiplies its scores when its inputs are multiplied, and is surer of the same answers: that is no gain.
    """
    one, two = _spread(given), _spread(other)
    pairs = [(given, other)]
    if one > 0 and two > 0:
        pairs += [(given, other * (one / two)), (given * (two / one), other)]
    found = [_paired(information(b) - information(a)) for a, b in pairs]
    return min(nats for nats, _ in found), min(errors for _, errors in found)


def _paired(gaps: F64) -> tuple[float, float]:
    """Return the mean, and the mean in its standard errors, within ±1e6."""
    mean, error = float(gaps.mean()), float(gaps.std(ddof=1)) / sqrt(len(gaps))
    return mean, float(np.clip(mean / max(error, _TINY), -_MOST, _MOST))


def _spread(scores: F64) -> float:
    return float((scores - scores.mean(axis=1, keepdims=True)).std())


def _logits(scores: AnyArray) -> F64:
    """Return scores, or the logarithms of probabilities; NaN and infinities become finite."""
    values = np.nan_to_num(scores.astype(np.float64), nan=0.0, posinf=1e30, neginf=-1e30)
    if values.min() >= 0 and np.allclose(values.sum(axis=1), 1, atol=1e-3):
        return np.log(values + _TINY)
    return values
