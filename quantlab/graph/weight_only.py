"""Weight-only quantization: constant weights stored as INT8, or INT4 in blocks, behind DequantizeLinear; the rest is float.

What takes such a model: ONNX Runtime runs all of it (it computes in float; INT4 MatMuls with its 4-bit kernel where it
optimizes). TensorRT's documentation («Working with Quantized Types») has weight-only quantization for INT4 alone, from
10.0 on: of matrix products, in blocks of 64 or 128 along the last or the second-to-last axis, with an even last axis as
two integers share a byte. INT8 weights alone it does not describe, but builds: the shipped network's convolutions and
its Gemm on TensorRT 8.6 (H200; logits within 1e-5 of ONNX Runtime's) and on TensorRT-RTX 1.7. 8.6 turns the weights into
floats again at each run, in a layer of their own: such a plan is smaller, not faster.

Embeddings (a Gather of a constant table) stay float: a DQ would expand the whole table at each run for a few rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from quantlab.calibration.weight_methods import SquaredErrorWeights, WeightMethod
from quantlab.errors import InputError, UsageError
from quantlab.graph.four_bits import int4_initializer, quantize_blocks, raised
from quantlab.graph.model import Model, load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.operand_swap import OperandSwap
from quantlab.graph.origin import note_origin
from quantlab.graph.patterns import WEIGHTED, weight_axis, weight_index
from quantlab.graph.target import Target
from quantlab.graph.view import Graph, attribute, operator
from quantlab.graph.weights import int8_initializer, weight_row

BLOCK_SIZES = (32, 64, 128)
_TENSORRT_BLOCKS = (64, 128)
_TENSORRT_INT4 = (10, 0)

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """How one weight is stored.

    Attributes
    ----------
    tensor
        Its name in the float model.
    dtype
        int8 (−128 … 127, a scale a channel) or int4 (−8 … 7, a scale a block); the zero point is 0.
    axis
        int8: of the channels, None for one scale; int4: the one that is cut into blocks.
    block
        Values that share a scale along `axis`; None for int8.
    why_int8
        What keeps it from INT4 in blocks; empty where these were not asked for.
    """

    tensor: str
    dtype: Literal["int8", "int4"]
    axis: int | None
    block: int | None = None
    why_int8: str = ""


@dataclass(frozen=True, slots=True)
class WeightOnly:
    """A model with integer weights and float activations.

    Attributes
    ----------
    model
        Every tensor keeps its name; weight `w` became `w_quantized`, `w_scale` and `w_dequantized`.
    weights
        Those stored as integers, in graph order.
    floats
        Weight or node → why it stays float, in graph order.
    """

    model: Model
    weights: tuple[StoredWeight, ...]
    floats: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Site:
    weight: str
    axis: int | None
    blocked: int | None  # the axis that the product sums over; None for convolutions


def store_weights(
    model: Model,
    *,
    target: str = "ort",
    block: int | None = None,
    method: WeightMethod | None = None,
    only: Collection[str] | None = None,
) -> WeightOnly:
    """Return the model with its float32 weights of Conv, ConvTranspose, Gemm and MatMul stored as integers.

    The same arguments give the same bytes. For opset 21, which INT4 needs, the model is converted.

    Parameters
    ----------
    model
        The float model; it is not changed.
    target
        ort or tensorrt; for INT4 tensorrt@10.0 and later.
    block
        None: INT8, a scale a channel. 32, 64 or 128 (TensorRT: 64, 128): INT4 in blocks of so many values along the
        axis that a Gemm or MatMul sums over; what cannot be is INT8 a channel for ort, and float for TensorRT.
    method
        INT8 scales; None: `SquaredErrorWeights()`. INT4 scales always have the least squared error.
    only
        Weights to store; None: all.

    Raises
    ------
    UsageError
        A target that does not take it, or another block size.
    InputError
        Q/DQ already in the model, a weight with NaN, nothing to store, or an opset that ONNX cannot convert.
    """
    wanted = Target.parse(target)
    _check(wanted, block)
    graph = Graph(normalise(model if block is None else raised(model)).model.proto)
    _refuse_qdq(graph)
    sites, floats = _sites(graph, wanted, only)
    swap, stored = OperandSwap(graph), []
    for site, places in sites.items():
        why = "" if block is None else _why_not_blocks(graph, site, block, wanted)
        if why and wanted.tensorrt is not None:
            floats[site.weight] = why
            continue
        if block is not None and not why:
            stored.append(_add_int4(swap, site, places, _value(graph, site.weight), block))
        else:
            stored.append(_add_int8(swap, site, places, method, why))
    if not stored:
        reasons = "; ".join(f"«{name}»: {reason}" for name, reason in list(floats.items())[:3])
        raise InputError(f"No weight of {model.name} can be stored as integers ({reasons or 'it has none'}).")
    proto = swap.write()
    note_origin(proto, model, {"target": str(wanted), "mode": "weight-only" if block is None else "weight-only-int4"})
    return WeightOnly(load_model(proto), tuple(stored), MappingProxyType(floats))


def _check(target: Target, block: int | None) -> None:
    if block is not None and block not in BLOCK_SIZES:
        raise UsageError(f"INT4 comes in blocks of {', '.join(map(str, BLOCK_SIZES))} values, not of {block}.")
    if block is not None and target.tensorrt is not None:
        if target.tensorrt < _TENSORRT_INT4:
            raise UsageError(f"{target} cannot read INT4; the first that can is tensorrt@10.0.")
        if block not in _TENSORRT_BLOCKS:
            raise UsageError(f"TensorRT takes INT4 in blocks of 64 or 128 values, not of {block}.")


def _refuse_qdq(graph: Graph) -> None:
    for node in graph.nodes:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}:
            raise InputError(f"The model already has Q/DQ (node '{node.name}'): start from the float model.")


def _sites(
    graph: Graph, target: Target, only: Collection[str] | None
) -> tuple[dict[_Site, list[Place]], dict[str, str]]:
    sites: dict[_Site, list[Place]] = {}
    floats: dict[str, str] = {}
    for node in graph.nodes:
        if operator(node) == "Gather" and _is_table(graph, node.input[0]):
            floats[node.input[0]] = "an embedding: DQ would expand the whole table at each run"
        if operator(node) not in WEIGHTED:
            continue
        index = weight_index(graph, node)
        if index is None:
            floats[node.name] = "both its inputs are computed"
            continue
        name = node.input[index]
        reason = "not among the weights asked for" if only is not None and name not in only else _reason(graph, name)
        if reason is not None:
            floats[name] = reason
            continue
        shape = graph.shape(name) or ()
        site = _Site(name, weight_axis(node, index, shape, target), _summed_axis(node, index, len(shape)))
        sites.setdefault(site, []).append((node.name, index))
    return sites, floats


def _is_table(graph: Graph, tensor: str) -> bool:
    return graph.is_constant(tensor) and graph.dtype(tensor) == np.float32 and len(graph.shape(tensor) or ()) > 1


def _reason(graph: Graph, weight: str) -> str | None:
    if graph.dtype(weight) != np.float32:
        return f"it is {graph.dtype(weight)}; only float32 is quantized"
    return "it is empty" if 0 in (graph.shape(weight) or ()) else None


def _summed_axis(node: onnx.NodeProto, index: int, rank: int) -> int | None:
    """Return the axis of a matrix that its product sums over: the input channels."""
    if operator(node) == "Gemm":
        turned = attribute(node, "transB" if index == 1 else "transA", 0)
        return int(bool(turned)) if index == 1 else int(not turned)
    if operator(node) != "MatMul" or rank < 2:
        return None
    return rank - 2 if index == 1 else rank - 1


def _why_not_blocks(graph: Graph, site: _Site, block: int, target: Target) -> str:
    shape = tuple(int(size) for size in graph.shape(site.weight) or ())
    if site.blocked is None:
        return "INT4 in blocks is for weights of MatMul and Gemm"
    if shape[site.blocked] % block:
        return f"its {shape[site.blocked]} input channels are no multiple of the block of {block}"
    if target.tensorrt is not None and len(shape) != 2:
        return "TensorRT takes INT4 for a single matrix only"
    if target.tensorrt is not None and shape[-1] % 2:
        return f"its last axis of {shape[-1]} is odd, and TensorRT packs two integers a byte"
    return ""


def _add_int8(
    swap: OperandSwap, site: _Site, places: list[Place], method: WeightMethod | None, why: str
) -> StoredWeight:
    name, weight = site.weight, _value(swap.graph, site.weight)
    params = weight_row(name, weight, site.axis, method or SquaredErrorWeights()).params
    integers, scale, zero = (swap.new(f"{name}_{part}") for part in ("quantized", "scale", "zero_point"))
    swap.store(int8_initializer(integers, weight, params))
    swap.store(numpy_helper.from_array(np.asarray(params.scale), scale))
    swap.store(numpy_helper.from_array(np.asarray(params.zero_point.astype(np.int8)), zero))
    axis = {} if site.axis is None else {"axis": site.axis}
    swap.dequantize(name, places, [integers, scale, zero], **axis)
    return StoredWeight(name, "int8", site.axis, why_int8=why)


def _add_int4(swap: OperandSwap, site: _Site, places: list[Place], weight: NDArray[Any], block: int) -> StoredWeight:
    name, axis = site.weight, site.blocked or 0
    if not np.isfinite(weight).all():
        raise InputError(f"Weight '{name}' holds NaN or infinity: it cannot be quantized.")
    values, scales = quantize_blocks(weight, axis, block)
    integers, scale = swap.new(f"{name}_quantized"), swap.new(f"{name}_scale")
    swap.store(int4_initializer(integers, values))
    swap.store(numpy_helper.from_array(np.ascontiguousarray(scales), scale))
    swap.dequantize(name, places, [integers, scale], axis=axis, block_size=block)
    return StoredWeight(name, "int4", axis, block)


def _value(graph: Graph, tensor: str) -> NDArray[Any]:
    value = graph.constant(tensor)
    if value is None:
        raise KeyError(tensor)
    return value
