"""What an audit wants to know of the ONNX model behind an engine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx

from quantlab.graph.model import Model
from quantlab.graph.normalise import normalise
from quantlab.graph.patterns import WEIGHTED
from quantlab.graph.qdq_view import QdqGraph
from quantlab.graph.view import Graph, Shape, attribute, operator

_STEPS = frozenset({"QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True, slots=True)
class Network:
    """A model's nodes and tensors by name.

    Attributes
    ----------
    operators
        Node → operator. A nameless node goes by the name that TensorRT's parser gives it, "node_of_" + its output.
    macs
        Weighted node → multiply-accumulates of one sample: an open dimension counts as 1. Nodes of unknown shape
        are left out.
    inputs, outputs, activations
        Tensors; `activations` are the float ones, inputs and outputs included.
    writers
        Tensor → the node that writes it.
    quantized
        Activations with Q/DQ, by the name that they have in `activations`.
    forms
        Other names of the same values: what Q and DQ write → the tensor.
    """

    operators: Mapping[str, str] = field(default_factory=dict)
    macs: Mapping[str, int] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    activations: tuple[str, ...] = ()
    writers: Mapping[str, str] = field(default_factory=dict)
    quantized: tuple[str, ...] = ()
    forms: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Model) -> Network:
        """Read a float model or one with Q/DQ.

        Raises
        ------
        InputError
            When the model cannot be normalised, which finds the shapes.
        """
        qdq = QdqGraph(model.proto)
        graph = qdq.graph
        forms = _forms(qdq)
        return cls(
            operators={_name(node): operator(node) for node in graph.nodes},
            macs=_macs(model, graph),
            inputs=graph.inputs,
            outputs=graph.outputs,
            activations=tuple(dict.fromkeys(forms.get(t, t) for t in graph.float_activations())),
            writers=_writers(graph, forms),
            quantized=tuple(dict.fromkeys(forms.values())),
            forms=forms,
        )

    def is_step(self, node: str) -> bool:
        """Tell whether a node is QuantizeLinear or DequantizeLinear."""
        return self.operators.get(node) in _STEPS


def _name(node: onnx.NodeProto) -> str:
    return node.name or (f"node_of_{node.output[0]}" if node.output else "")


def _forms(qdq: QdqGraph) -> dict[str, str]:
    """Return, for activations, what Q and DQ read and write → the one name; a model's output keeps its own."""
    activations = [step for step in qdq.steps if not step.weight]
    names = {}
    for step in activations:
        if not step.quantizes and qdq.graph.is_output(step.node.output[0]):
            names[step.tensor] = step.node.output[0]
    forms: dict[str, str] = {}
    for step in activations:
        tensor = forms.get(step.tensor, names.get(step.tensor, step.tensor))
        for name in (step.tensor, step.node.input[0], step.node.output[0]):
            forms[name] = tensor
    return forms


def _writers(graph: Graph, forms: Mapping[str, str]) -> dict[str, str]:
    writers: dict[str, str] = {}
    for node in graph.nodes:
        if operator(node) not in _STEPS:
            writers |= {forms.get(name, name): _name(node) for name in node.output if name}
    return writers


def _macs(model: Model, graph: Graph) -> dict[str, int]:
    weighted = [node for node in graph.nodes if operator(node) in WEIGHTED]
    known = {node.name: _count(graph, node) for node in weighted}
    if None in known.values():  # shapes that are computed inside the graph become known by folding
        folded = Graph(normalise(model).model.proto)
        known |= {n.name: _count(folded, n) for n in folded.nodes if known.get(n.name, 0) is None}
    return {_name(node): count for node in weighted if (count := known.get(node.name)) is not None}


def _count(graph: Graph, node: onnx.NodeProto) -> int | None:
    """Return outputs times products each, or for a transposed convolution inputs times products each."""
    data, weight = graph.shape(node.input[0]), graph.shape(node.input[1])
    out = graph.shape(node.output[0])
    if data is None or weight is None or out is None:
        return None
    kind = operator(node)
    if kind in ("Conv", "ConvTranspose"):
        return _product(out if kind == "Conv" else data, weight[1:])
    transposed = kind == "Gemm" and attribute(node, "transB", 0)
    return _product(out, (weight[-1] if transposed or len(weight) == 1 else weight[-2],)) if weight else None


def _product(open_first: Shape, factors: Shape) -> int | None:
    sizes = (*(size for i, size in enumerate(open_first) if i or isinstance(size, int)), *factors)
    return None if any(isinstance(size, str) for size in sizes) else math.prod(int(size) for size in sizes)
