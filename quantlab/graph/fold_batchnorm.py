"""Fold a BatchNormalization into the Conv, ConvTranspose or Gemm before it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from quantlab.graph.draft import Draft, some
from quantlab.graph.view import attribute, operator
from quantlab.numerics.arrays import F64

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm")
_FLOATS = (onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
_EPSILON = 1e-5


def fold_batchnorm(draft: Draft) -> None:
    """Fold every BatchNormalization that is the only reader of a weighted operator with constant weights.

    y = a·(W∗x + b) + (β − a·μ) with a = γ/√(σ² + ε), computed in float64 and rounded once to the type of W. The
    output keeps the name of the BatchNormalization's; the tensor between the two exists no more. A weight that
    others read too is left for them, and the folded copy gets a name of its own, which no name of the user's stands for.
    """
    read = draft.uses()
    producers = {name: node for node in draft.nodes for name in node.output if name}
    gone = []
    for norm in list(draft.nodes):
        weighted = producers.get(norm.input[0]) if _is_inference_norm(norm, read) else None
        if weighted is None or operator(weighted) not in _WEIGHTED or read[norm.input[0]] != 1:
            continue
        folded = _folded(weighted, norm, draft)
        if folded is None:
            continue
        gone.append(norm.input[0])
        _store(weighted, norm, folded, draft, read)
        producers[norm.output[0]] = weighted
    vanished = frozenset(gone)
    draft.nodes = [n for n in draft.nodes if not (operator(n) == "BatchNormalization" and n.input[0] in vanished)]
    draft.gone.extend(gone)
    if gone:
        draft.notes.append(
            f"{len(gone)} BatchNormalization nodes were folded into the weights before them; the tensors between "
            f"exist no more: {some(gone)}."
        )


def _is_inference_norm(node: onnx.NodeProto, read: Counter[str]) -> bool:
    return (
        operator(node) == "BatchNormalization"
        and not attribute(node, "training_mode", 0)
        and not any(read[name] for name in node.output[1:])
    )


def _folded(weighted: onnx.NodeProto, norm: onnx.NodeProto, draft: Draft) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return the new weight and bias; None if something is not constant or does not stay finite."""
    tensors = [draft.constants.get(name) for name in (weighted.input[1], *norm.input[1:5])]
    biased = len(weighted.input) > 2 and bool(weighted.input[2])
    tensors.append(draft.constants.get(weighted.input[2]) if biased else tensors[-1])
    if any(t is None or t.data_type not in _FLOATS for t in tensors):
        return None
    arrays = [onnx.numpy_helper.to_array(t) for t in tensors if t is not None]
    weight = arrays[0]
    gamma, beta, mean, variance, bias = (a.astype(np.float64) for a in arrays[1:])
    with np.errstate(all="ignore"):
        factor = gamma / np.sqrt(variance + attribute(norm, "epsilon", _EPSILON))
        if weighted.op_type == "Gemm":
            bias = bias * attribute(weighted, "beta", 1.0)
        new_weight = _scaled(weight.astype(np.float64), factor, weighted).astype(weight.dtype)
        new_bias = ((bias if biased else 0.0) * factor + (beta - mean * factor)).astype(weight.dtype)
    if not (np.isfinite(new_weight).all() and np.isfinite(new_bias).all()):
        draft.notes.append(f"BatchNormalization '{norm.name}' was not folded: its factors are not finite.")
        return None
    return new_weight, new_bias


def _scaled(weight: F64, factor: F64, node: onnx.NodeProto) -> F64:
    """Multiply each output channel of a weight by its factor."""
    spatial = (1,) * (weight.ndim - 2)
    if node.op_type == "Conv":
        return weight * factor.reshape(-1, 1, *spatial)
    if node.op_type == "ConvTranspose":
        groups = attribute(node, "group", 1)
        inner = weight.reshape(groups, -1, *weight.shape[1:])
        return (inner * factor.reshape(groups, 1, -1, *spatial)).reshape(weight.shape)
    return weight * (factor[:, None] if attribute(node, "transB", 0) else factor)


def _store(
    weighted: onnx.NodeProto,
    norm: onnx.NodeProto,
    folded: tuple[NDArray[Any], NDArray[Any]],
    draft: Draft,
    read: Counter[str],
) -> None:
    names = list(weighted.input) + [""] * (3 - len(weighted.input))
    for index, (array, kind) in enumerate(zip(folded, ("weight", "bias"), strict=True), start=1):
        old = names[index]
        if not old or read[old] != 1:
            names[index] = draft.unused_name(f"{norm.output[0]}_{kind}")
            if old:  # no renaming: the values are others, and so is a scale that fits them
                read[old] -= 1
            read[names[index]] = 1
        draft.constants[names[index]] = onnx.numpy_helper.from_array(array, names[index])
    del weighted.input[:]
    weighted.input.extend(names)
    weighted.output[0] = norm.output[0]
    beta = [a for a in weighted.attribute if a.name == "beta"]
    for stored in beta:  # already part of the new bias
        weighted.attribute.remove(stored)
