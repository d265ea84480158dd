"""A Q/DQ model becomes one that ONNX Runtime computes with the arithmetic of TensorRT's INT8 kernels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import onnx

from quantlab.graph.digest import digest
from quantlab.graph.int8_kernel import kernel_of
from quantlab.graph.int8_kernel_nodes import Writer, exact_parts
from quantlab.graph.model import Model
from quantlab.graph.qdq_view import QdqGraph
from quantlab.graph.view import Graph, captured, operator

_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclass(frozen=True, slots=True)
class Simulation:
    """A model that computes what TensorRT's kernels compute, and what became of the operators.

    Attributes
    ----------
    model
        Inputs, outputs and metadata are the Q/DQ model's.
    integer
        Weighted operators that sum integers, by name, in graph order.
    floats
        Why a weighted operator is computed in float as it stands.
    """

    model: Model
    integer: tuple[str, ...]
    floats: Mapping[str, str]


def simulate(model: Model) -> Model:
    """Return a model whose outputs under ONNX Runtime are those of TensorRT's engine; see `simulation_of`."""
    return simulation_of(model).model


def simulation_of(model: Model) -> Simulation:
    """Write each weighted operator between Q/DQ as the kernel that TensorRT makes of it.

    A Conv, ConvTranspose, Gemm or MatMul of dequantized INT8 operands becomes the same operator on the integers, held in
    float32. While the largest possible sum stays below 2**24 every partial sum is exact, as in TensorRT's INT32
    accumulators, whatever the order: threads, batch size, processor and graph optimization change no bit. Longer sums
    are split. Then comes the kernel's float32 epilogue, with `x`, `w`, `r` the operands and the residual as integers,
    ``s' = 1 / (1 / s)`` in float32 the scale that TensorRT keeps of a DequantizeLinear, and ``sy`` that of the
    QuantizeLinear behind it (1 if the output stays float)::

        alpha = s'x · s'w / sy      b = bias / sy      beta = s'r / sy       each step rounded to float32
        v = fma(beta, r, fma(alpha, Σ x · w, b))
        y = clamp(round_half_even(clip(v)), -128, 127)

    Determined against TensorRT 8.6 on an H200, whose recorded float16 logits of four Q/DQ models of EfficientNet-Lite0 it
    repeats for every image (`reports/figures/simulation.json`). The residual is that of an Add of one more dequantized
    tensor; `clip` is Relu or Clip. A Pad of zeros between two equal scales goes into the convolution behind it. All other
    nodes stay as they are.

    It may differ from TensorRT where nothing recorded tells what kernels do: Q/DQ around other operators, activations
    other than Relu and Clip inside a kernel, products of two activations, FP16 or TF32. It does differ from the one
    engine of an implicitly quantized network (calibration cache) that was recorded: top-1 agreement 0.9934, logits
    29.2 dB apart, 5 % of the images alike to the last bit. What that engine's kernels compute instead was not
    identified; TensorRT's own engine from Q/DQ with an INT8 head is as far from it. Float layers sum in an order of their
    own, which also is the one thing that batch size and threads may change here, in the last bits. On a CPU, batches of
    one image are the fastest: what a kernel writes stays in the cache.

    Parameters
    ----------
    model
        With Q/DQ; weights stored as INT8 or as float32 behind Q. UINT8, zero points and scales in blocks stay float.

    Raises
    ------
    InputError
        The graph has a cycle or writes a tensor twice.
    """
    qdq = QdqGraph(model.proto)
    writer, reasons, names = Writer(_names(model.proto.graph), model.opset), dict[str, str](), list[str]()
    replaced = set[str]()
    for node in qdq.graph.nodes:
        if operator(node) not in _WEIGHTED:
            continue
        kernel, name = kernel_of(qdq, node), node.name or node.output[0]
        parts = () if isinstance(kernel, str) else exact_parts(kernel, qdq.graph)
        if isinstance(kernel, str):
            reasons[name] = kernel
        elif not parts:
            reasons[name] = "its sums may exceed 2**24, up to which float32 counts, and cannot be split"
        else:
            writer.add(kernel, parts)
            replaced.update(kernel.replaces)
            names.append(name)
    kept = [node for node in qdq.graph.nodes if not replaced.intersection(node.output)]
    proto = _with_nodes(model.proto, [*kept, *writer.nodes], writer.initializers)
    return Simulation(Model(proto, model.path, digest(proto)), tuple(names), MappingProxyType(reasons))


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (value.name for value in (*graph.input, *graph.initializer, *graph.output))
    for node in graph.node:
        yield node.name
        yield from (*node.input, *node.output, *captured(node))


def _with_nodes(
    proto: onnx.ModelProto, nodes: Iterable[onnx.NodeProto], initializers: Iterable[onnx.TensorProto]
) -> onnx.ModelProto:
    """Return the model with these nodes, sorted, and nothing that no output needs."""
    found = onnx.ModelProto()
    found.CopyFrom(proto)
    graph = found.graph
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    ordered = Graph(found).nodes
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(ordered):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update((*node.input, *captured(node)))
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(kept)]
    stored = [tensor for tensor in (*proto.graph.initializer, *initializers) if tensor.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(copies)
    graph.initializer.extend(stored)
    return found
