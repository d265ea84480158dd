"""What runs in which precision: every operator of the INT8 model, or every layer of a built engine, and its share of the work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import onnx

from quantlab.audit.audit import Audit
from quantlab.graph.model import Model
from quantlab.graph.multiply_accumulates import integer_nodes, multiply_accumulates
from quantlab.graph.patterns import WEIGHTED, fusion
from quantlab.graph.qdq_view import QdqGraph
from quantlab.graph.view import Graph, operator

Computes: TypeAlias = str
"""«INT8», «float», «weight-only» (integers stored, float computed), or a precision as TensorRT names it."""

INT8, FLOAT, WEIGHT_ONLY = "INT8", "float", "weight-only"
_OF_RESULTS = ("read by ", "output of ")
_STORED_INTEGER = frozenset({"MatMulNBits"})
_FLOATS = frozenset(
    {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE}
)


@dataclass(frozen=True, slots=True)
class LayerPrecision:
    """One operator of the model, or one layer of an engine.

    Attributes
    ----------
    name, operator
        The node's name and type; of an engine's layer its name and what it holds.
    computes
        See `Computes`.
    macs
        Multiply-accumulates for one sample; None where unknown, or where the operator has none.
    reason
        Why it is not INT8; empty for what is.
    milliseconds
        Time in an engine's profile; None without one.
    """

    name: str
    operator: str
    computes: Computes
    macs: int | None = None
    reason: str = ""
    milliseconds: float | None = None


@dataclass(frozen=True, slots=True)
class OperatorPrecision:
    """How many operators of one type compute in what, and the share of all multiply-accumulates, 0 … 1, that they do."""

    operator: str
    counts: Mapping[Computes, int]
    share: float
    int8_share: float


@dataclass(frozen=True, slots=True)
class Precision:
    """What ran in which precision.

    Attributes
    ----------
    source
        Where it was read: model, the Q/DQ model as written; engine, the plan as TensorRT built it.
    layers
        In graph order, or in the order of execution.
    unknown
        Weighted operators whose multiply-accumulates are not known.
    dead
        Weight → output channels whose INT8 weights are all 0.
    quantized
        The activations with Q/DQ, by their names in the float model.
    """

    source: Literal["model", "engine"]
    layers: tuple[LayerPrecision, ...]
    unknown: int = 0
    dead: Mapping[str, int] | None = None
    quantized: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Multiply-accumulates of one sample, as far as they are known."""
        return sum(layer.macs or 0 for layer in self.layers)

    @property
    def coverage(self) -> float | None:
        """Share of the multiply-accumulates that run on integers, 0 … 1; None where none are known."""
        done = sum(layer.macs or 0 for layer in self.layers if layer.computes == INT8)
        return done / self.total if self.total else None

    @property
    def kinds(self) -> tuple[Computes, ...]:
        """The precisions there are, INT8 first."""
        found = dict.fromkeys(layer.computes for layer in self.layers)
        return tuple(sorted(found, key=lambda kind: (kind != INT8, kind != WEIGHT_ONLY, kind)))

    @property
    def not_int8(self) -> tuple[LayerPrecision, ...]:
        """What is not INT8, the most work first."""
        return tuple(sorted((one for one in self.layers if one.computes != INT8), key=lambda one: -(one.macs or 0)))

    @property
    def by_operator(self) -> tuple[OperatorPrecision, ...]:
        """A line an operator type, the most work first."""
        groups: dict[str, list[LayerPrecision]] = {}
        for layer in self.layers:
            groups.setdefault(layer.operator, []).append(layer)
        lines = [self._line(kind, layers) for kind, layers in groups.items()]
        return tuple(sorted(lines, key=lambda line: (-line.share, line.operator)))

    def _line(self, kind: str, layers: list[LayerPrecision]) -> OperatorPrecision:
        counts = {computes: sum(one.computes == computes for one in layers) for computes in self.kinds}
        work = sum(one.macs or 0 for one in layers)
        done = sum(one.macs or 0 for one in layers if one.computes == INT8)
        total = self.total or 1
        return OperatorPrecision(kind, {k: n for k, n in counts.items() if n}, work / total, done / total)

    @classmethod
    def of_model(cls, model: Model, reasons: Mapping[str, str] | None = None) -> Precision:
        """Read a Q/DQ model: an operator is INT8 where all it reads is dequantized, or where it runs inside such a kernel.

        Parameters
        ----------
        reasons
            Tensor or operator → why it stays float, as the builder tells.
        """
        qdq, known = QdqGraph(model.proto), reasons or {}
        integers = integer_nodes(model)
        inside = {other.name for node in qdq.plain.nodes if node.name in integers for other in _kernel(qdq, node)}
        macs = multiply_accumulates(model)
        layers = []
        for node in qdq.plain.nodes:
            if not _computes_floats(qdq.plain, node):
                continue
            computes = _computes(qdq, node, integers | inside)
            reason = "" if computes == INT8 else _reason(qdq, node, known, computes)
            layers.append(LayerPrecision(node.name, operator(node), computes, macs.by_node.get(node.name), reason))
        return cls("model", tuple(layers), len(macs.unknown), _dead_channels(qdq), _quantized(qdq))

    @classmethod
    def of_audit(cls, audit: Audit) -> Precision:
        """Read the audit of an engine; copies and lone Q/DQ are no layers that compute."""
        words = {row.layer: row.explanation for row in audit.tensors if row.state == "float"}
        layers = tuple(
            LayerPrecision(
                row.name,
                " + ".join(dict.fromkeys(row.operators)) or row.kind,
                INT8 if row.precision in ("INT8", "UINT8") else row.precision,
                row.macs,
                "" if row.precision in ("INT8", "UINT8") else words.get(row.name, ""),
                row.milliseconds,
            )
            for row in audit.layers
            if row.role == "compute"
        )
        return cls("engine", layers)


def _kernel(qdq: QdqGraph, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return the operators behind a weighted one in its kernel: up to the first tensor that is quantized."""
    if operator(node) not in WEIGHTED:
        return []
    found, previous = [], node
    for other in fusion(qdq.plain, node).nodes[1:]:
        if any(qdq.quantized(name) for name in previous.output if name in other.input):
            break
        found.append(other)
        previous = other
    return found


def _computes_floats(graph: Graph, node: onnx.NodeProto) -> bool:
    return operator(node) in WEIGHTED | _STORED_INTEGER or any(
        graph.element_type(name) in _FLOATS for name in node.output if name
    )


def _computes(qdq: QdqGraph, node: onnx.NodeProto, integers: frozenset[str]) -> Computes:
    if node.name in integers:
        return INT8
    if operator(node) in _STORED_INTEGER:
        return WEIGHT_ONLY
    if operator(node) in WEIGHTED:
        stored = [qdq.dequantized(node, i) for i in (0, 1)]
        return WEIGHT_ONLY if any(step is not None and step.weight for step in stored) else FLOAT
    reads = [i for i, name in enumerate(node.input) if name and not qdq.plain.is_constant(name)]
    behind = bool(reads) and all(qdq.dequantized(node, i) is not None for i in reads)
    return INT8 if behind and any(qdq.quantized(name) for name in node.output if name) else FLOAT


def _reason(qdq: QdqGraph, node: onnx.NodeProto, known: Mapping[str, str], computes: Computes) -> str:
    if node.name in known and node.name not in node.output:
        return known[node.name]
    told = [known[name] for name in node.output if name in known]
    if told:
        return f"its result is {told[0]}" if told[0].startswith(_OF_RESULTS) else told[0]
    if computes == WEIGHT_ONLY:
        return "its weight is stored as integers; what it reads stays float"
    for i, name in enumerate(node.input):
        if name and not qdq.plain.is_constant(name) and qdq.dequantized(node, i) is None:
            return f"reads «{name}» in float"
    return "nothing that it writes is quantized"


def _quantized(qdq: QdqGraph) -> tuple[str, ...]:
    """Return the activations that are quantized; an output of the network had to give its name away, and has it back here."""
    names = {step.tensor for step in qdq.steps if step.quantizes and not step.weight}
    return tuple(
        sorted(
            names | {name.removesuffix("_float") for name in names if qdq.graph.is_output(name.removesuffix("_float"))}
        )
    )


def _dead_channels(qdq: QdqGraph) -> dict[str, int]:
    """Return how many output channels of each stored INT8 weight hold nothing but zeros."""
    found = {}
    for step in qdq.steps:
        if not step.weight or step.quantizes or step.axis is None or step.blocked or step.dtype != np.int8:
            continue
        stored = qdq.graph.constant(step.tensor)
        if stored is None or stored.ndim < 2:
            continue
        others = tuple(axis for axis in range(stored.ndim) if axis != step.axis)
        dead = int(np.sum(~np.any(stored, axis=others)))
        if dead:
            found[step.tensor.removesuffix("_quantized")] = dead
    return found
