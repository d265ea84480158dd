"""Evaluate what does not depend on the input, as ONNX's reference implementation does."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import onnx
import onnx.reference
import onnx.shape_inference

from quantlab.graph.draft import Draft
from quantlab.graph.stored_tensors import is_small, stored_bytes
from quantlab.graph.view import Graph, attribute, bodies

LARGEST_RESULT = 64 * 2**20
"""Bytes above which a result is kept only if it is smaller than what it is made from."""

_RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
_QUANTIZATION = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}
_SLOW = {"Conv", "ConvTranspose", "ConvInteger", "DeformConv", "QLinearConv", "Resize", "Upsample", "GridSample"}
_SLOW |= {"RNN", "LSTM", "GRU", "AveragePool", "MaxPool", "LpPool", "NonMaxSuppression", "RoiAlign", "Einsum"}
_NOT_FOLDED = _RANDOM | _QUANTIZATION | _SLOW | {"Constant", "Identity", "Dropout"}
_NATIVE = frozenset(
    onnx.helper.np_dtype_to_tensor_dtype(np.dtype(t))
    for t in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")
)
# What the reference implementation raises for operators and values it does not support.
_UNSUPPORTED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


def fold_constants(draft: Draft) -> None:
    """Replace nodes whose inputs are all constant, and shapes that are known, by their values.

    Quantization stays (the pair of Q and DQ on a weight *is* the information), and so does what is random, slow in
    the reference implementation, or would grow the model by more than `LARGEST_RESULT`.
    """
    folded = 0
    while count := _fold_once(draft):
        folded += count
    if folded:
        draft.notes.append(f"{folded} nodes do not depend on the input and were replaced by their values.")


def _fold_once(draft: Draft) -> int:
    graph = Graph(draft.light())
    kept = []
    for node in draft.nodes:
        tensors = _values(node, graph, draft)
        if tensors is None:
            kept.append(node)
            continue
        draft.constants.update(tensors)
        draft.made.update(tensors)
    folded = len(draft.nodes) - len(kept)
    draft.nodes = kept
    return folded


def _values(node: onnx.NodeProto, graph: Graph, draft: Draft) -> dict[str, onnx.TensorProto] | None:
    if node.domain not in ("", "ai.onnx") or node.op_type in _NOT_FOLDED or next(bodies(node), None) is not None:
        return None
    if draft.outputs.intersection(node.output):
        return None
    if node.op_type in ("Shape", "Size"):
        return _known_shape(node, graph)
    if all(not name or name in draft.constants for name in node.input):
        return _evaluated(node, draft)
    return None


def _known_shape(node: onnx.NodeProto, graph: Graph) -> dict[str, onnx.TensorProto] | None:
    """Return the value of Shape or Size, if every size it reads is fixed."""
    shape = graph.shape(node.input[0])
    if shape is None:
        return None
    part = shape[attribute(node, "start", 0) : attribute(node, "end", None)] if node.op_type == "Shape" else shape
    sizes = [size for size in part if isinstance(size, int)]
    if len(sizes) < len(part):
        return None
    value = np.array(sizes if node.op_type == "Shape" else math.prod(sizes), dtype=np.int64)
    return {node.output[0]: onnx.numpy_helper.from_array(value, node.output[0])}


def _evaluated(node: onnx.NodeProto, draft: Draft) -> dict[str, onnx.TensorProto] | None:
    inputs = {name: draft.constants[name] for name in node.input if name}
    if any(tensor.data_type not in _NATIVE for tensor in inputs.values()):
        return None
    expected = _inferred(node, inputs, draft.header)
    most = max(LARGEST_RESULT, sum(map(stored_bytes, inputs.values())))
    if expected is None or sum(_size(t) for t in expected.values()) > most:
        return None
    types = [onnx.helper.make_value_info(name, _type_of(t)) for name, t in inputs.items()]
    results = [onnx.helper.make_value_info(name, t) for name, t in expected.items()]
    single = onnx.helper.make_model(
        onnx.helper.make_graph([node], "one", types, results),
        opset_imports=draft.header.opset_import,
        ir_version=draft.header.ir_version,
    )
    arrays = _run(single, {name: onnx.numpy_helper.to_array(tensor) for name, tensor in inputs.items()})
    if arrays is None or any(_differs(a, t) for a, t in zip(arrays, expected.values(), strict=True)):
        return None
    return {name: onnx.numpy_helper.from_array(a, name) for name, a in zip(expected, arrays, strict=True)}


def _inferred(
    node: onnx.NodeProto, inputs: dict[str, onnx.TensorProto], header: onnx.ModelProto
) -> dict[str, onnx.TypeProto] | None:
    """Return type and shape of each output, known before anything is computed; None if one is open."""
    version = next(o.version for o in header.opset_import if o.domain in ("", "ai.onnx"))
    try:
        found = onnx.shape_inference.infer_node_outputs(
            onnx.defs.get_schema(node.op_type, version, ""),
            node,
            {name: _type_of(tensor) for name, tensor in inputs.items()},
            {name: tensor for name, tensor in inputs.items() if is_small(tensor)},
            opset_imports=list(header.opset_import),
            ir_version=header.ir_version,
        )
    except (onnx.defs.SchemaError, onnx.shape_inference.InferenceError, *_UNSUPPORTED):
        return None
    wanted = {name: found.get(name) for name in node.output if name}
    known = {name: t for name, t in wanted.items() if t is not None and _is_closed(t)}
    return known if len(known) == len(wanted) else None


def _type_of(tensor: onnx.TensorProto) -> onnx.TypeProto:
    return onnx.helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))


def _is_closed(kind: onnx.TypeProto) -> bool:
    tensor = kind.tensor_type
    return (
        tensor.elem_type in _NATIVE
        and tensor.HasField("shape")
        and all(dim.HasField("dim_value") for dim in tensor.shape.dim)
    )


def _size(kind: onnx.TypeProto) -> int:
    dims = [dim.dim_value for dim in kind.tensor_type.shape.dim]
    return stored_bytes(onnx.TensorProto(data_type=kind.tensor_type.elem_type, dims=dims))


def _run(single: onnx.ModelProto, inputs: dict[str, Any]) -> list[np.ndarray[Any, Any]] | None:
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [np.asarray(a) for a in onnx.reference.ReferenceEvaluator(single).run(None, inputs)]
    except _UNSUPPORTED:
        return None


def _differs(array: np.ndarray[Any, Any], kind: onnx.TypeProto) -> bool:
    """Tell whether a result has another type or shape than ONNX says it must have."""
    tensor = kind.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return array.dtype != dtype or array.shape != tuple(dim.dim_value for dim in tensor.shape.dim)
