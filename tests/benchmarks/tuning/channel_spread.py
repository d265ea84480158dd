"""Injects what folded batch norms do to MobileNets: channels of one tensor whose ranges lie far apart."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

SEED = 0


def with_channel_spread(model: ModelProto, spread: float, *, seed: int = SEED) -> ModelProto:
    """Return the network with every depthwise convolution's channels scaled by exp(U(−ln S, ln S)), undone after its ReLU.

    max(0, s·x) = s·max(0, x) for s > 0, so in exact arithmetic the logits stay what they were.

    Parameters
    ----------
    model
        Has chains Conv (depthwise, with bias), Relu, Conv (pointwise), weights and biases being initializers.
    spread
        S, at least 1: factors lie between 1/S and S.
    seed
        Of the factors.

    Raises
    ------
    ValueError
        When there is no such chain.
    """
    result = ModelProto()
    result.CopyFrom(model)
    constants = {tensor.name: tensor for tensor in result.graph.initializer}
    draw = np.random.default_rng(seed)
    chains = [chain for node in result.graph.node if (chain := _chain(result, node)) is not None]
    if not chains:
        raise ValueError("The network has no depthwise convolution, ReLU and pointwise convolution in a row.")
    for depthwise, pointwise in chains:
        weight, bias, after = (constants[name] for name in (*depthwise.input[1:3], pointwise.input[1]))
        factor = np.exp(draw.uniform(-np.log(spread), np.log(spread), weight.dims[0]))
        _scale(weight, factor[:, None, None, None])
        _scale(bias, factor)
        _scale(after, 1 / factor[None, :, None, None])
    return result


def _chain(model: ModelProto, depthwise: NodeProto) -> tuple[NodeProto, NodeProto] | None:
    groups = next((a.i for a in depthwise.attribute if a.name == "group"), 1)
    if depthwise.op_type != "Conv" or groups == 1:
        return None
    relu = _only_reader(model, depthwise, "Relu")
    pointwise = relu and _only_reader(model, relu, "Conv")
    return (depthwise, pointwise) if pointwise else None


def _only_reader(model: ModelProto, node: NodeProto, operator: str) -> NodeProto | None:
    readers = [other for other in model.graph.node if node.output[0] in other.input]
    return readers[0] if len(readers) == 1 and readers[0].op_type == operator else None


def _scale(tensor: TensorProto, factor: np.ndarray) -> None:  # type: ignore[type-arg,unused-ignore]
    scaled = numpy_helper.to_array(tensor).astype(np.float64) * factor
    tensor.CopyFrom(numpy_helper.from_array(scaled.astype(np.float32), tensor.name))
