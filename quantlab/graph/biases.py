"""Where the bias of each weighted operator is or could be, and how to set it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx

from quantlab.errors import InputError
from quantlab.graph.editing import Editing, why_not_editable
from quantlab.graph.model import Model
from quantlab.graph.patterns import WEIGHTED
from quantlab.graph.view import Graph, attribute, operator
from quantlab.numerics.arrays import F32, AnyArray


@dataclass(frozen=True, slots=True)
class Bias:
    """Where the bias of one weighted operator is.

    Attributes
    ----------
    node
        Name of the weighted operator.
    holder, input_index
        First output of the node that adds the bias (the operator itself, or the Add behind a MatMul), and which of
        its inputs the bias is or would be.
    output
        The tensor that holds W·x + b: that of the holder.
    axis
        Axis of `output` along which the channels lie: 1 for convolutions, else −1.
    value
        The bias as it acts (a Gemm's beta multiplied in), float32 [channels]; zeros where there is none yet.
    constant
        Name of the initializer; empty where there is none yet.
    """

    node: str
    holder: str
    input_index: int
    output: str
    axis: int
    value: F32 = field(compare=False)
    constant: str = ""


@dataclass(frozen=True, slots=True)
class Biases:
    """The biases of a model by node name, and why other weighted operators can have none."""

    found: Mapping[str, Bias]
    without: Mapping[str, str]


def biases(model: Model) -> Biases:
    """Find the bias of every Conv, ConvTranspose, Gemm and MatMul of a normalised model, in graph order.

    Convolutions and Gemm carry it as input 2; that of a MatMul is the constant of the Add that alone reads it.
    """
    graph = Graph(model.proto)
    found: dict[str, Bias] = {}
    without: dict[str, str] = {}
    for node in graph.nodes:
        if operator(node) not in WEIGHTED:
            continue
        place = _FIND[operator(node)](graph, node)
        if isinstance(place, Bias):
            found[node.name] = place
        else:
            without[node.name] = f"{operator(node)} «{node.name}» {place}."
    return Biases(found, without)


def with_biases(model: Model, values: Mapping[str, F32]) -> Model:
    """Return the model with these biases: node name → float32 [channels], as it acts (beta of a Gemm included).

    An operator without bias gets one; a constant that others read too is left for them. The constants get the names
    they had, new ones are called `<tensor>_bias`.

    Raises
    ------
    InputError
        No such weighted operator, one that can have no bias, an array of another shape or type, NaN or infinity.
    """
    places = biases(model)
    editing = Editing.of(model)
    for name, value in values.items():
        if name not in places.found:
            reason = places.without.get(name, f"The model has no weighted operator «{name}».")
            raise InputError(f"{reason} So it can be given no bias: leave it out.")
        bias = places.found[name]
        _check(value, bias.value.shape, f"The bias of «{name}»")
        _set(editing, bias, value)
    return editing.finished()


def with_weights(model: Model, values: Mapping[str, F32]) -> Model:
    """Return the model with these initializers, name → float32 array of the same shape, for all that read them.

    Raises
    ------
    InputError
        No such initializer, one that is not float32, an array of another shape or type, NaN or infinity.
    """
    editing = Editing.of(model)
    for name, value in values.items():
        stored = editing.draft.constants.get(name)
        if stored is None:
            raise InputError(f"The model has no initializer «{name}»: take names from the normalised model.")
        if stored.data_type != onnx.TensorProto.FLOAT:
            kind = onnx.TensorProto.DataType.Name(stored.data_type)
            raise InputError(
                f"Initializer «{name}» is {kind}, and only FLOAT is changed: convert the model to float32."
            )
        _check(value, tuple(stored.dims), f"The weight «{name}»")
        editing.replace(name, value)
    return editing.finished()


def channels_of(node: onnx.NodeProto, weight: AnyArray) -> int:
    """Return how many output channels a weighted operator with this weight at input 1 has."""
    if operator(node) == "ConvTranspose":
        return int(weight.shape[1]) * int(attribute(node, "group", 1))
    if operator(node) == "MatMul" or (operator(node) == "Gemm" and not attribute(node, "transB", 0)):
        return int(weight.shape[1])
    return int(weight.shape[0])


def _check(value: AnyArray, shape: tuple[int, ...], what: str) -> None:
    if not isinstance(value, np.ndarray) or value.dtype != np.float32 or value.shape != shape:
        got = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
        raise InputError(f"{what} must be a float32 array of shape {list(shape)}, not {got}.")
    if not np.isfinite(value).all():
        raise InputError(f"{what} would hold NaN or infinity: look at the data it was computed from.")


def _set(editing: Editing, bias: Bias, value: F32) -> None:
    holder = editing.writers[bias.holder]
    if operator(holder) == "Gemm":
        for stored in [a for a in holder.attribute if a.name == "beta"]:  # `value` is what acts, beta included
            holder.attribute.remove(stored)
    shape = value.shape
    if bias.constant in editing.draft.constants:
        old = tuple(editing.draft.constants[bias.constant].dims)
        shape = old if int(np.prod(old)) == value.size else (*(1 for _ in old[1:]), value.size)
    editing.set_input(holder, bias.input_index, value.reshape(shape), "bias")


def _of_input(graph: Graph, node: onnx.NodeProto) -> Bias | str:
    """Return the bias of a convolution or Gemm, or why there can be none, as the end of a sentence."""
    weight = graph.constant(node.input[1])
    if why := why_not_editable(weight):
        return f"has a weight that {why}"
    assert weight is not None
    channels = channels_of(node, weight)
    beta = float(attribute(node, "beta", 1.0)) if operator(node) == "Gemm" else 1.0
    name = node.input[2] if len(node.input) > 2 else ""
    value = np.zeros(channels, np.float32)
    if name:
        stored = graph.constant(name)
        if why := why_not_editable(stored):
            return f"has a bias that {why}"
        assert stored is not None
        if not _differs_by_last_axis(stored, channels):
            return f"has a bias of shape {list(stored.shape)}, which is not one a channel"
        value = np.broadcast_to(stored.reshape(-1) * np.float32(beta), channels).copy()
    axis = -1 if operator(node) == "Gemm" else 1
    return Bias(node.name, node.output[0], 2, node.output[0], axis, value, name)


def _of_add(graph: Graph, node: onnx.NodeProto) -> Bias | str:
    """Return the bias of a MatMul, the constant of the Add behind it, or why there is none."""
    weight = graph.constant(node.input[1])
    if why := why_not_editable(weight):
        return f"has a weight that {why}"
    assert weight is not None
    if weight.ndim != 2:
        return f"has a weight of shape {list(weight.shape)}, whose channels are not those of one matrix"
    uses = graph.consumers(node.output[0])
    if len(uses) != 1 or graph.is_output(node.output[0]) or operator(uses[0].node) != "Add":
        return "is not read by one Add of a constant alone, which is where a bias would be"
    add, index = uses[0].node, 1 - uses[0].input_index
    stored = graph.constant(add.input[index])
    if why := why_not_editable(stored):
        return f"is read by Add «{add.name}», whose other input {why}"
    assert stored is not None
    channels = int(weight.shape[1])
    if not _differs_by_last_axis(stored, channels):
        return f"is read by Add «{add.name}», whose constant of shape {list(stored.shape)} is not one a channel"
    value = np.broadcast_to(stored.reshape(-1), channels).copy()
    return Bias(node.name, add.output[0], index, add.output[0], -1, value, add.input[index])


def _differs_by_last_axis(stored: AnyArray, channels: int) -> bool:
    return stored.size == 1 or (stored.size == channels and stored.shape[-1] == channels)


_FIND: Mapping[str, Callable[[Graph, onnx.NodeProto], Bias | str]] = {
    "Conv": _of_input,
    "ConvTranspose": _of_input,
    "Gemm": _of_input,
    "MatMul": _of_add,
}
