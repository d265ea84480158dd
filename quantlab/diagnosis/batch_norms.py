"""What a network's first BatchNorms expect: the mean and variance of training, where they were not folded away."""

from dataclasses import dataclass

import numpy as np
import onnx

from quantlab.graph.model import Model
from quantlab.graph.view import Graph
from quantlab.numerics.arrays import F64, AnyArray

_FIRST = 2  # later ones see less of the input's scale, as each BatchNorm undoes some of it
_EPSILON = 1e-5  # a channel that never varied would be infinitely far from any other


@dataclass(frozen=True, slots=True, eq=False)
class Expectation:
    """Mean and variance, float64[channels], that a tensor [samples, channels, …] had in training."""

    tensor: str
    mean: F64
    variance: F64

    def mismatch(self, values: AnyArray) -> float:
        """Return how far the values are from it: the divergence of normal distributions, in nats, mean over the channels.

        KL(values ‖ training) of Kullback and Leibler (Annals of Mathematical Statistics 22, 1951, 79-86).
        """
        others = tuple(i for i in range(values.ndim) if i != 1)
        mean, variance = values.mean(axis=others, dtype=np.float64), values.var(axis=others, dtype=np.float64)
        ratio = (variance + _EPSILON) / (self.variance + _EPSILON)
        gap = (mean - self.mean) ** 2 / (self.variance + _EPSILON)
        return float(np.mean((ratio - 1 - np.log(ratio) + gap) / 2))


def expectations(model: Model) -> tuple[Expectation, ...]:
    """Return those of the first BatchNorms in graph order; none where they were folded into the weights."""
    graph = Graph(model.proto)
    found = [e for node in graph.nodes if node.op_type == "BatchNormalization" and (e := _of(node, graph)) is not None]
    return tuple(found[:_FIRST])


def _of(node: onnx.NodeProto, graph: Graph) -> Expectation | None:
    if len(node.input) < 5 or node.input[0] in graph.inputs:
        return None
    mean, variance = graph.constant(node.input[3]), graph.constant(node.input[4])
    if mean is None or variance is None:
        return None
    return Expectation(node.input[0], mean.astype(np.float64), variance.astype(np.float64))
