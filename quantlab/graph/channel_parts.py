"""Constants that change with the scales of channels, and the model with these scales."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import onnx

from quantlab.graph.editing import Editing
from quantlab.numerics.arrays import F32, F64, I64

Role: TypeAlias = Literal["weight", "norm", "bias", "bounds"]


@dataclass(frozen=True, slots=True)
class Part:
    """A constant that changes with the scales of channels: times s of those it reads, over s of those it makes.

    Attributes
    ----------
    output
        First output of the node that reads the constant.
    index
        Which of its inputs the constant is.
    role
        weight: of a weighted operator; norm: the factor of a normalisation, or of a Mul by a constant; bias: what
        is added; bounds: both bounds of a Clip, which becomes a Max and a Min.
    reads, makes
        Channels in an array that broadcasts with the constant; None if it reads or makes none.
    """

    output: str
    index: int
    role: Role
    reads: I64 | None = None
    makes: I64 | None = None

    def factor(self, scales: F64) -> F64:
        """Return what the constant is multiplied by, given the scale of each channel, [n]."""
        made = np.ones(()) if self.makes is None else scales[self.makes]
        read = np.ones(()) if self.reads is None else scales[self.reads]
        return np.asarray(read / made, np.float64)


def apply_scales(editing: Editing, parts: Iterable[Part], scales: F64) -> None:
    """Change the constants by the scale of each channel, [n], computed in float64 and rounded once to float32."""
    for part in parts:
        factor = part.factor(scales)
        if np.all(factor == 1):
            continue
        node = editing.writers[part.output]
        if part.role == "bounds":
            _bound_each_channel(editing, node, factor)
            continue
        array = editing.constant(node.input[part.index])
        new = (array.astype(np.float64) * factor).astype(np.float32)
        shaped = new.reshape(array.shape) if new.size == array.size else new
        editing.set_input(node, part.index, shaped, "bias" if part.role == "bias" else "weight")


def _bound_each_channel(editing: Editing, node: onnx.NodeProto, factor: F64) -> None:
    """Replace a Clip by a Max and a Min with bounds a channel; a lower bound of 0 becomes a Relu."""
    low, high = (_bound(editing, node, index, default) for index, default in ((1, -np.inf), (2, np.inf)))
    source, output = node.input[0], node.output[0]
    between = editing.new_name(f"{output}_raised")
    if low == 0:
        first = onnx.helper.make_node("Relu", [source], [between], f"{node.name}_raised")
    else:
        first = onnx.helper.make_node("Max", [source, _stored(editing, f"{output}_low", low * factor)], [between])
        first.name = f"{node.name}_raised"
    editing.put([first], before=node)
    upper = _stored(editing, f"{output}_high", high * factor)
    node.CopyFrom(onnx.helper.make_node("Min", [between, upper], [output], node.name))


def _bound(editing: Editing, node: onnx.NodeProto, index: int, default: float) -> float:
    if len(node.input) <= index or not node.input[index]:
        return default
    return float(editing.constant(node.input[index]).reshape(-1)[0])


def _stored(editing: Editing, wanted: str, array: F64) -> str:
    name = editing.new_name(wanted)
    value: F32 = array.astype(np.float32)
    editing.replace(name, value)
    editing.read[name] = 1
    return name
