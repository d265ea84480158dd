"""The float weights behind a Q/DQ model's integers: what these stand for, or those of the original."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from quantlab.errors import InputError
from quantlab.graph.model import Model
from quantlab.graph.qdq_view import QdqGraph, Step
from quantlab.graph.view import Graph
from quantlab.numerics.arrays import F32

_SUFFIX = "_quantized"
_ROUNDING = 1.001  # half a step, and the float32 rounding of the quotient


@dataclass(frozen=True, slots=True)
class FloatWeights:
    """What a DQ of stored integers writes → the float constant in its place; and sentences on them."""

    stored: Mapping[str, onnx.TensorProto]
    notes: tuple[str, ...]


def float_weights(qdq: QdqGraph, original: Model | None) -> FloatWeights:
    """Return the float constants for all stored integers.

    Raises
    ------
    InputError
        Scales in blocks, computed, or of a shape that does not fit; a weight of `original` that does not round to the
        integers.
    """
    given = {} if original is None else _floats(original)
    taken = {*qdq.graph.initializers, *qdq.graph.tensors()}
    found: dict[str, onnx.TensorProto] = {}
    same: dict[tuple[str, bytes], onnx.TensorProto] = {}
    replaced = 0
    for step in qdq.steps:
        if step.quantizes or step.tensor != step.node.input[0]:
            continue
        values = _dequantized(qdq.graph, step)
        name = step.tensor.removesuffix(_SUFFIX)
        exact = None if name not in given else np.asarray(onnx.numpy_helper.to_array(given[name]))
        if exact is not None and values.shape == exact.shape:
            _check_rounds(name, exact, values, step)
            values = exact
            replaced += 1
        key = name, hashlib.sha256(np.ascontiguousarray(values).data).digest()
        if key not in same:
            free = name if name not in taken else _free(f"{name}_float", taken)
            taken.add(free)
            same[key] = onnx.numpy_helper.from_array(values, free)
        found[step.node.output[0]] = same[key]
    rest = len(found) - replaced
    notes = (f"{rest} stored weights and biases are the floats that their integers stand for.",) if rest else ()
    return FloatWeights(found, notes)


def _dequantized(graph: Graph, step: Step) -> F32:
    integers = graph.constant(step.node.input[0])
    where = f"'{step.node.name or step.tensor}'"
    if step.scale is None or step.zero_point is None or integers is None:
        raise InputError(f"Scale or zero point of {where} is computed, not constant: it cannot be taken out.")
    if step.blocked or integers.dtype.kind not in "iu":
        raise InputError(
            f"{where} has scales in blocks, or stores {integers.dtype}: only whole numbers a channel can be read."
        )
    wide = np.int16 if integers.itemsize == 1 else np.int64  # holds the difference of any two
    scale, zero = _along(step, step.scale, integers), _along(step, step.zero_point.astype(wide), integers)
    return np.asarray((integers.astype(wide) - zero).astype(np.float32) * scale.astype(np.float32), np.float32)


def _along(step: Step, values: NDArray[Any], integers: NDArray[Any]) -> NDArray[Any]:
    """Return scales or zero points in a shape that lies along the step's axis."""
    if values.size == 1:
        return values.reshape(())
    axis = 0 if step.axis is None else step.axis
    if not 0 <= axis < integers.ndim or integers.shape[axis] != values.size:
        raise InputError(
            f"'{step.node.name or step.tensor}' has {values.size} scales for axis {axis} of {list(integers.shape)}."
        )
    return values.reshape([-1 if i == axis else 1 for i in range(integers.ndim)])


def _floats(model: Model) -> dict[str, onnx.TensorProto]:
    return {
        tensor.name: tensor for tensor in model.proto.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT
    }


def _check_rounds(name: str, exact: F32, values: F32, step: Step) -> None:
    assert step.scale is not None
    scale = np.abs(_along(step, step.scale, values)).astype(np.float64)
    off = np.abs(exact.astype(np.float64) - values) > scale / 2 * _ROUNDING
    inside = np.abs(values) < 126.5 * scale  # what is clipped may be further off
    if bool(np.any(off & inside)):
        raise InputError(
            f"The original's «{name}» does not round to the integers that the Q/DQ model stores, so it is not the model that "
            "was quantized: leave it out, and the weights are those that the integers stand for."
        )


def _free(wish: str, taken: set[str]) -> str:
    tries = (wish, *(f"{wish}_{i}" for i in range(1, len(taken) + 2)))
    return next(name for name in tries if name not in taken)
