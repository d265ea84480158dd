"""Which operators carry weights, move values without changing them, or run inside another's kernel.

The tables say what TensorRT's builder fuses (its developer guide, on layer fusions and on Q/DQ placement);
ONNX Runtime fuses less, which the rules for it take into account.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from quantlab.graph.target import Target
from quantlab.graph.view import Graph, Shape, Use, attribute, operator

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})

MOVES = frozenset(
    {
        *("DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Slice"),
        *("GlobalMaxPool", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
    }
)
"""Operators whose output holds values of input 0 only, so that quantizing before and after is one thing."""

ACTIVATIONS = frozenset(
    {
        *("Celu", "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu", "Relu"),
        *("Selu", "Sigmoid", "Softplus", "Softsign", "Swish", "Tanh", "ThresholdedRelu"),
    }
)

GATES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("Sigmoid",), ()),  # SiLU: x · sigmoid(x)
    (("HardSigmoid",), ()),  # hard-swish
    (("Add", "Clip", "Div"), ()),  # hard-swish spelled out: x · (relu6(x + 3) / 6)
    (("Add", "Clip", "Mul"), ()),
    (("Add", "Clip"), ("Div",)),
    (("Add", "Clip"), ("Mul",)),
    (("Softplus", "Tanh"), ()),  # Mish
    (("Div", "Erf", "Add"), ("Mul",)),  # GELU: x · (1 + erf(x / √2)) · ½
    (("Mul", "Erf", "Add"), ("Mul",)),
)
"""Activations that multiply x by a function of x: the operators of the gate, then those after the product."""

JOINS = frozenset({"Add", "Sum", "Sub", "Mul", "Max", "Min"})
"""Elementwise operators of two activations with INT8 kernels."""

_AFFINE = frozenset({"Add", "Sub", "Mul", "Div"})
_LEAKS = frozenset({"LeakyRelu", "PRelu"})
_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})


@dataclass(frozen=True, slots=True)
class Fusion:
    """A weighted operator with everything that runs in the same kernel.

    Attributes
    ----------
    nodes
        The weighted operator first, in graph order.
    inner
        Tensors that exist inside the kernel only: no Q/DQ belongs on them.
    output
        The tensor that the kernel writes.
    residual
        The use of the Add's other input; None without a residual Add.
    """

    nodes: tuple[onnx.NodeProto, ...]
    inner: tuple[str, ...]
    output: str
    residual: Use | None = None


def weight_index(graph: Graph, node: onnx.NodeProto) -> int | None:
    """Return which input of a weighted operator is its constant weight; None if none is constant."""
    candidates = (1, 0) if operator(node) in {"Gemm", "MatMul"} else (1,)
    return next((i for i in candidates if graph.is_constant(node.input[i])), None)


def weight_axis(node: onnx.NodeProto, index: int, shape: Shape, target: Target) -> int | None:
    """Return the output channels' axis of the weight of `shape` at input `index`; None: one scale for all of it.

    A stack of matrices has no channels of its own: column j of one is not column j of the next.
    """
    if operator(node) == "Conv":
        return 0
    if operator(node) == "ConvTranspose":
        return target.transposed_convolution_axis(int(attribute(node, "group", 1)))
    if index != 1 or len(shape) < 2:
        return None
    if operator(node) == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return len(shape) - 1 if all(size == 1 for size in shape[:-2]) else None


def moves(graph: Graph, node: onnx.NodeProto | None) -> bool:
    """Tell whether `node` only moves, repeats or drops values of input 0, or fills up with zeros."""
    if node is None or graph.is_constant(node.input[0] if node.input else ""):
        return False
    if operator(node) == "Pad":
        return attribute(node, "mode", b"constant") != b"constant" or _fills_with_zero(graph, node)
    if operator(node) == "Resize":
        cropped = attribute(node, "coordinate_transformation_mode", b"half_pixel") == b"tf_crop_and_resize"
        return attribute(node, "mode", b"nearest") == b"nearest" and not cropped  # outside the crop stands a constant
    return operator(node) in MOVES


def source(graph: Graph, tensor: str) -> str:
    """Return the tensor whose values `tensor` holds, found up through operators that only move them."""
    node = graph.producer(tensor)
    while node is not None and moves(graph, node):
        tensor = node.input[0]
        node = graph.producer(tensor)
    return tensor


def averages(graph: Graph, node: onnx.NodeProto | None) -> bool:
    """Tell whether `node` is average pooling: AveragePool, GlobalAveragePool or ReduceMean over the image."""
    if node is None:
        return False
    if operator(node) != "ReduceMean":
        return operator(node) in {"AveragePool", "GlobalAveragePool"}
    shape = graph.shape(node.input[0])
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        axes = graph.constant(node.input[1])
    if shape is None or axes is None or len(shape) < 3:
        return False
    return {int(a) % len(shape) for a in axes} == set(range(2, len(shape)))


def fusion(graph: Graph, node: onnx.NodeProto) -> Fusion:
    """Return the kernel of the weighted operator `node`: + BatchNorm + residual Add + activation."""
    nodes = [node]
    tensor = node.output[0]
    inner: list[str] = []
    axis = _channel_axis(graph, node)
    while (use := _only_use(graph, tensor)) is not None and is_affine(graph, use, axis):
        inner.append(tensor)
        nodes.append(use.node)
        tensor = use.node.output[0]
    residual = None
    if use is not None and fused_branch(graph, use.node) == use.input_index:
        inner.append(tensor)
        nodes.append(use.node)
        tensor = use.node.output[0]
        residual = Use(use.node, 1 - use.input_index)
    tail = activation(graph, tensor)
    if tail and leak_behind(graph, node, tensor) is None:
        inner += [tensor, *(n.output[0] for n in tail[:-1])]
        nodes += tail
        tensor = tail[-1].output[0]
    return Fusion(tuple(nodes), tuple(inner), tensor, residual)


def leak_behind(graph: Graph, node: onnx.NodeProto, tensor: str) -> onnx.NodeProto | None:
    """Return the LeakyRelu or PRelu that alone reads `tensor`, the result of a convolution of one group; None if there is none."""
    if operator(node) != "Conv" or attribute(node, "group", 1) != 1:
        return None
    tail = activation(graph, tensor)
    return tail[0] if tail and operator(tail[0]) in _LEAKS else None


def fused_branch(graph: Graph, node: onnx.NodeProto) -> int | None:
    """Return which input of an Add a convolution computes in the same kernel: the later one if two could."""
    if operator(node) not in {"Add", "Sum"} or _broadcasts(graph, node):
        return None
    found = [(graph.position(t), i) for i, t in enumerate(node.input) if _ends_convolution(graph, t)]
    return max(found)[1] if found else None


def activation(graph: Graph, tensor: str) -> tuple[onnx.NodeProto, ...]:
    """Return the nodes of the activation function that alone reads `tensor`; empty if there is none."""
    if graph.is_output(tensor):
        return ()
    uses = graph.consumers(tensor)
    if len(uses) == 1 and uses[0].input_index == 0 and operator(uses[0].node) in ACTIVATIONS:
        return (uses[0].node,)
    return next((found for gate, tail in GATES if (found := _gated(graph, tensor, gate, tail))), ())


def is_affine(graph: Graph, use: Use, axis: int | None = None) -> bool:
    """Tell whether `use.node` is BatchNormalization, or adds to or scales the used tensor by a constant.

    The constant is one number, or one for each index along `axis`, the axis of channels (None: has none): only
    those can become part of the weights and bias.
    """
    if operator(use.node) == "BatchNormalization":
        return use.input_index == 0
    if operator(use.node) not in _AFFINE or len(use.node.input) != 2:
        return False
    if operator(use.node) == "Div" and use.input_index != 0:
        return False  # constant / x
    other = use.node.input[1 - use.input_index]
    return graph.is_constant(other) and _is_per_channel(graph, other, use.node.input[use.input_index], axis)


def _is_per_channel(graph: Graph, constant: str, tensor: str, axis: int | None) -> bool:
    """Tell whether a constant, aligned with the last axes of `tensor`, differs along `axis` at most."""
    sizes, shape = graph.shape(constant), graph.shape(tensor)
    if sizes is None or shape is None:
        return sizes == ()
    if len(sizes) > len(shape):
        return False
    first = len(shape) - len(sizes)
    channels = None if axis is None or not shape else axis % len(shape)
    return all(
        size == 1 or (i == channels and (size == shape[i] or isinstance(shape[i], str)))
        for i, size in enumerate(sizes, start=first)
    )


def _channel_axis(graph: Graph, node: onnx.NodeProto) -> int:
    """Return the axis of output channels in the result of a weighted operator."""
    if operator(node) in _CONVOLUTIONS:
        return 1
    return -2 if weight_index(graph, node) == 0 else -1


def _only_use(graph: Graph, tensor: str) -> Use | None:
    uses = graph.consumers(tensor)
    return uses[0] if len(uses) == 1 and uses[0].input_index >= 0 and not graph.is_output(tensor) else None


def _ends_convolution(graph: Graph, tensor: str) -> bool:
    """Tell whether `tensor`, read once, is a convolution's result or a constant scaling and shift of it."""
    while _only_use(graph, tensor) is not None and (node := graph.producer(tensor)) is not None:
        if operator(node) in _CONVOLUTIONS:
            return graph.is_constant(node.input[1])
        step = next((i for i, t in enumerate(node.input) if not graph.is_constant(t)), 0)
        if not is_affine(graph, Use(node, step), axis=1):
            return False
        tensor = node.input[step]
    return False


def _broadcasts(graph: Graph, node: onnx.NodeProto) -> bool:
    if len(node.input) != 2 or any(graph.is_constant(t) for t in node.input):
        return True
    one, other = graph.shape(node.input[0]), graph.shape(node.input[1])
    if one is None or other is None:
        return False
    known = ((a, b) for a, b in zip(one, other, strict=False) if isinstance(a, int) and isinstance(b, int))
    return len(one) != len(other) or any(a != b for a, b in known)


def _gated(graph: Graph, tensor: str, gate: tuple[str, ...], tail: tuple[str, ...]) -> tuple[onnx.NodeProto, ...]:
    uses = graph.consumers(tensor)
    if len(uses) != 2:
        return ()
    start, product = sorted(uses, key=lambda use: graph.position(use.node.output[0]))
    if operator(product.node) != "Mul" or operator(start.node) != gate[0]:
        return ()
    found = _chain(graph, start, gate)
    if not found or _only_use(graph, found[-1].output[0]) is None:
        return ()
    if found[-1].output[0] not in product.node.input:
        return ()
    if not tail:
        return (*found, product.node)
    after = _only_use(graph, product.node.output[0])
    rest = _chain(graph, after, tail) if after is not None else ()
    return (*found, product.node, *rest) if rest else ()


def _chain(graph: Graph, use: Use, operators: tuple[str, ...]) -> tuple[onnx.NodeProto, ...]:
    """Return the nodes from `use` on if their types are `operators` and nothing else reads between them."""
    found: list[onnx.NodeProto] = []
    step: Use | None = use
    for wanted in operators:
        if step is None or operator(step.node) != wanted:
            return ()
        if wanted in _AFFINE and not is_affine(graph, step):
            return ()
        found.append(step.node)
        step = _only_use(graph, step.node.output[0])
    return tuple(found)


def _fills_with_zero(graph: Graph, node: onnx.NodeProto) -> bool:
    if len(node.input) < 3 or not node.input[2]:
        return float(attribute(node, "value", 0.0)) == 0.0
    value = graph.constant(node.input[2])
    return value is not None and bool(np.all(value == 0))
