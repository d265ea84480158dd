"""Constants of an ONNX model put into the parameters that they came from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from quantlab.graph.view import Graph
from quantlab.numerics.arrays import AnyArray
from quantlab.qat.distinct import Parameters
from quantlab.qat.matching import Alignment

_SAME = 1e-6
"""Of the largest magnitude: what folding a BatchNorm in float32 or in float64 makes of difference."""


def copy_constants(
    reference: Graph, other: Graph, alignment: Alignment, module: nn.Module, parameters: Parameters
) -> dict[str, str]:
    """Give the parameters of a module the values that the reference has for them; return why a constant could not be.

    `other` is the module's own ONNX model, exported while its parameters had the values that `parameters` knows: a
    parameter is found by these, stored as they are or transposed.
    """
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    given: dict[str, tuple[str, AnyArray]] = {}
    failed = dict(left_out(reference, alignment))
    for ours, new, theirs in _pairs(reference, alignment):
        old = other.constant(theirs)
        if old is None:
            continue
        found = parameters.holding(old)
        if isinstance(found, str):
            failed |= {} if np.array_equal(new, old) else {ours: found}
            continue
        name, turned = found
        values = new.T if turned else new
        first, known = given.setdefault(name, (ours, values))
        if not np.array_equal(known, values):
            failed[ours] = f"the plan has other values there than in «{first}», and the module one parameter for both"
        elif known is values:
            _put(tensors[name], values)
    return failed


def still_different(reference: Graph, other: Graph, alignment: Alignment, failed: dict[str, str]) -> dict[str, str]:
    """Return those constants among `failed` that the module, whose ONNX model `other` is, does not have either way."""
    unlike = {ours for ours, new, theirs in _pairs(reference, alignment) if not _alike(new, other.constant(theirs))}
    unlike |= left_out(reference, alignment).keys()
    return {name: why for name, why in failed.items() if name in unlike}


def left_out(reference: Graph, alignment: Alignment) -> dict[str, str]:
    """Return the reference's constants of more than one value that the other model has no place for, with the reason."""
    failed = {name: f"the module's layer at «{place[0]}» has no bias" for place, name in alignment.missing.items()}
    for node in reference.nodes:
        for index, name in enumerate(node.input if node.name in alignment.nodes else ()):
            place, value = (node.name, index), reference.constant(name)
            if value is None or value.dtype.kind != "f" or value.size < 2:
                continue
            if place not in alignment.operands and place not in alignment.missing:
                failed[name] = f"the module has no constant of this shape at «{node.name}»"
    return failed


def _pairs(reference: Graph, alignment: Alignment) -> Iterator[tuple[str, AnyArray, str]]:
    """Yield, operand by operand, the reference's constant, its values, and the other's constant."""
    inputs = {(node.name, index): name for node in reference.nodes for index, name in enumerate(node.input)}
    for place, theirs in alignment.operands.items():
        value = reference.constant(inputs[place])
        if value is not None:
            yield inputs[place], value, theirs


def _put(target: Tensor, values: AnyArray) -> None:
    with torch.no_grad():
        target.copy_(torch.tensor(values))


def _alike(one: AnyArray, other: AnyArray | None) -> bool:
    if other is None or one.shape != other.shape:
        return False
    return bool(np.abs(one - other).max(initial=0.0) <= _SAME * max(np.abs(other).max(initial=0.0), _SAME))
