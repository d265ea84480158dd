"""A Q/DQ model, anyone's, comes apart into a plain float model and the scales of its activations."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from quantlab.caches.plain_scales import activation_rows
from quantlab.caches.plain_weights import float_weights
from quantlab.calibration.scale_table import ScaleTable
from quantlab.errors import InputError
from quantlab.graph.digest import digest
from quantlab.graph.metadata import METADATA_KEY
from quantlab.graph.model import Model
from quantlab.graph.qdq_view import QdqGraph
from quantlab.graph.view import Graph, captured, operator

_STEPS = frozenset({"DequantizeLinear", "QuantizeLinear"})
_INTEGER = ("QLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")


@dataclass(frozen=True, slots=True)
class Plain:
    """The two parts.

    Attributes
    ----------
    model
        Without Q/DQ; opset, inputs and outputs are the Q/DQ model's.
    table
        A symmetric scale for every activation that had Q/DQ, by its name in `model`, and for those that hold the
        same values.
    exact
        The tensors whose scale is the Q/DQ model's own, bit for bit.
    notes
        Sentences on what could not stay as it was.
    """

    model: Model
    table: ScaleTable
    exact: tuple[str, ...]
    notes: tuple[str, ...]


def plain_of(quantized: Model, *, original: Model | None = None, widen: bool = False) -> Plain:
    """Take the Q/DQ out of a model.

    Parameters
    ----------
    quantized
        With Q/DQ of INT8 or UINT8 activations and constant scales; weights as integers behind DQ or as floats behind Q.
    original
        The float model that it was made of: its weights are taken, where they have the same name and round to the
        stored integers. None: stored integers become the floats that they stand for.
    widen
        Give an activation whose zero point is not the middle the symmetric scale that covers its range; otherwise
        such a model is refused, as no cache can say it.

    Raises
    ------
    InputError
        No Q/DQ, integers without Q or DQ, operators on integers, scales in blocks or computed, or weights of another
        model.
    """
    _refuse(quantized)
    qdq = QdqGraph(quantized.proto)
    _check_pairs(qdq)
    weights = float_weights(qdq, original)
    alias = _resolved(qdq, {name: stored.name for name, stored in weights.stored.items()})
    proto, renamed = _without(qdq, alias)
    proto.graph.initializer.extend(stored for stored in weights.stored.values())
    _drop_unread(proto.graph)
    names = {
        step.tensor: renamed.get(alias.get(step.tensor, step.tensor), alias.get(step.tensor, step.tensor))
        for step in qdq.steps
    }
    rows, notes = activation_rows(qdq, names, widen=widen)
    graph = Graph(proto)
    model = Model(proto, quantized.path, digest(proto))
    found = {row.tensor for row in rows}
    table = ScaleTable(tuple(sorted(rows, key=lambda row: graph.position(row.tensor))))
    exact = tuple(t for t in graph.tensors() if t in found and t not in notes)
    return Plain(model, table, exact, (*weights.notes, *dict.fromkeys(notes.values())))


def _refuse(quantized: Model) -> None:
    nodes = quantized.proto.graph.node
    if not any(node.op_type in _STEPS for node in nodes):
        raise InputError(f"The model {quantized.name} has no Q/DQ, so there is nothing to take out of it.")
    for node in nodes:
        if node.op_type.startswith(_INTEGER):
            raise InputError(
                f"The model {quantized.name} computes on integers (operator {node.op_type}, node '{node.name}'): export "
                "it with Q/DQ instead, in ONNX Runtime's words quant_format=QDQ."
            )


def _check_pairs(qdq: QdqGraph) -> None:
    """Refuse integers that something else than a pair makes or reads."""
    for step in qdq.steps:
        node = step.node
        if step.quantizes:
            readers = qdq.graph.consumers(node.output[0])
            if qdq.graph.is_output(node.output[0]) or any(
                operator(u.node).split("::")[-1] != "DequantizeLinear" for u in readers
            ):
                raise InputError(
                    f"What '{node.name}' quantizes is read as integers ('{node.output[0]}'): only pairs can be taken out."
                )
        elif qdq.before(step) is None and qdq.graph.constant(node.input[0]) is None:
            raise InputError(
                f"'{node.name}' dequantizes '{node.input[0]}', which no QuantizeLinear made: only pairs can be taken out."
            )


def _resolved(qdq: QdqGraph, stored: dict[str, str]) -> dict[str, str]:
    """Return what each DQ writes → the float tensor or constant that takes its place."""
    alias: dict[str, str] = {}
    for step in qdq.steps:
        if not step.quantizes:
            name = node_output = step.node.output[0]
            name = stored.get(node_output, alias.get(step.tensor, step.tensor))
            alias[node_output] = name
    for step in qdq.steps:  # a Q that reads what another pair wrote
        if step.quantizes and step.tensor in alias:
            alias.setdefault(step.node.output[0], alias[step.tensor])
    return alias


def _without(qdq: QdqGraph, alias: dict[str, str]) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Return the model without Q/DQ, and float tensors that got the name of the output that they now are."""
    proto = onnx.ModelProto()
    proto.CopyFrom(qdq.graph.proto)
    kept = [entry for entry in proto.metadata_props if entry.key != METADATA_KEY]
    del proto.metadata_props[:], proto.graph.node[:], proto.graph.value_info[:], proto.graph.quantization_annotation[:]
    proto.metadata_props.extend(kept)
    renamed: dict[str, str] = {}
    copies: list[tuple[str, str]] = []
    for output in qdq.graph.outputs:
        behind = alias.get(output)
        if behind is None:
            continue
        if behind in renamed or qdq.graph.is_output(behind) or qdq.graph.producer(behind) is None:
            copies.append((behind, output))
        else:
            renamed[behind] = output
    for node in qdq.graph.nodes:
        if node.op_type in _STEPS:
            continue
        copies += [(alias[name], name) for name in captured(node) if name in alias]
        copy = proto.graph.node.add()
        copy.CopyFrom(node)
        copy.input[:] = [renamed.get(alias.get(t, t), alias.get(t, t)) for t in node.input]
        copy.output[:] = [renamed.get(t, t) for t in node.output]
    for behind, name in dict.fromkeys(copies):
        proto.graph.node.append(
            onnx.helper.make_node("Identity", [renamed.get(behind, behind)], [name], f"{name}_copy")
        )
    ordered = [onnx.NodeProto.FromString(node.SerializeToString()) for node in Graph(proto).nodes]
    del proto.graph.node[:]
    proto.graph.node.extend(ordered)
    return proto, renamed


def _drop_unread(graph: onnx.GraphProto) -> None:
    read = {o.name for o in graph.output} | {t for node in graph.node for t in (*node.input, *captured(node))}
    stored = {tensor.name for tensor in graph.initializer}
    # In place: a list of those to keep would hold a second copy of all weights.
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in read:
            del graph.initializer[index]
    for index in reversed(range(len(graph.input))):
        if graph.input[index].name in stored - read:
            del graph.input[index]
