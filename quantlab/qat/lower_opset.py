"""Writes a model of opset 18 in operators of opset 17, the newest that TensorRT 8.6 reads.

ONNX's own converter refuses reductions whose axes are an initializer, which is how torch writes them; and a parser that
expects opset 17 would overlook such axes and reduce over every dimension.
"""

from typing import Any

import onnx
from onnx import numpy_helper

from quantlab.errors import InputError
from quantlab.graph.opset import inlined
from quantlab.graph.view import bodies

_NEW = 18
_REDUCTIONS = frozenset(
    f"Reduce{kind}" for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
)
_SAME_BUT_FOR: dict[str, dict[str, tuple[Any, ...]]] = {
    "Resize": {"antialias": (0,), "axes": (), "keep_aspect_ratio_policy": (b"stretch",)},
    "ScatterElements": {"reduction": (b"none", b"add", b"mul")},
    "ScatterND": {"reduction": (b"none", b"add", b"mul")},
    "LpPool": {"ceil_mode": (0,), "dilations": ()},
}
"""Operators that gained attributes in opset 18 → the values of these that opset 17 means."""


def lowered(proto: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Return a model of opset 18 at opset 17; weights are shared, not copied.

    Raises
    ------
    InputError
        For another opset, or an operator that opset 17 does not have.
    """
    if opset != _NEW - 1:
        raise InputError(
            f"torch's dynamo exporter writes opset {_NEW} and above, and quantlab lowers that to {_NEW - 1}, not to "
            f"{opset}: give opset={_NEW - 1}, or exporter='torchscript'."
        )
    flat, _ = inlined(proto)
    known = {t.name: t for t in flat.graph.initializer}
    known |= {
        n.output[0]: a.t for n in flat.graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"
    }
    for node in flat.graph.node:
        _lower(node, known)
    _drop_unread(flat.graph)
    for imported in flat.opset_import:
        if imported.domain in ("", "ai.onnx"):
            imported.version = opset
    return flat


def _lower(node: onnx.NodeProto, known: dict[str, onnx.TensorProto]) -> None:
    for body in bodies(node):
        for inner in body.node:
            _lower(inner, known)
    if node.domain not in ("", "ai.onnx"):
        return
    if node.op_type in _REDUCTIONS:
        _lower_reduction(node, known)
    elif node.op_type == "Split":
        _lower_split(node)
    elif node.op_type == "Pad":
        if len(node.input) > 3 and node.input[3]:
            raise _refusal(node, "pads chosen axes")
    elif node.op_type in _SAME_BUT_FOR:
        _lower_attributes(node)
    elif onnx.defs.get_schema(node.op_type, _NEW, "").since_version == _NEW:
        raise _refusal(node, f"is new in opset {_NEW}")


def _lower_reduction(node: onnx.NodeProto, known: dict[str, onnx.TensorProto]) -> None:
    kept = [a for a in node.attribute if a.name != "noop_with_empty_axes"]
    noop = len(kept) < len(node.attribute) and _attribute(node, "noop_with_empty_axes").i != 0
    axes = node.input[1] if len(node.input) > 1 else ""
    if axes and axes not in known:
        raise _refusal(node, "computes its axes")
    values = numpy_helper.to_array(known[axes]).ravel().tolist() if axes else []
    if noop and not values:
        raise _refusal(node, "reduces nothing")
    if values:
        kept.append(onnx.helper.make_attribute("axes", values))
    del node.input[1:]
    del node.attribute[:]
    node.attribute.extend(kept)


def _lower_split(node: onnx.NodeProto) -> None:
    """Opset 17 splits evenly without `num_outputs`; whether it *is* even, ONNX Runtime tells when it runs the model."""
    kept = [a for a in node.attribute if a.name != "num_outputs"]
    del node.attribute[:]
    node.attribute.extend(kept)


def _lower_attributes(node: onnx.NodeProto) -> None:
    meant = _SAME_BUT_FOR[node.op_type]
    for attribute in list(node.attribute):
        if attribute.name not in meant:
            continue
        if onnx.helper.get_attribute_value(attribute) not in meant[attribute.name]:
            raise _refusal(node, f"has «{attribute.name}»")
        if attribute.name != "reduction":  # which opset 17 has too
            node.attribute.remove(attribute)


def _attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    return next(a for a in node.attribute if a.name == name)


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Remove initializers that nothing reads any more: the axes."""
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for body in [body for node in graph.node for body in bodies(node)]:
        read |= _names_in(body)
    left = [t for t in graph.initializer if t.name in read]
    if len(left) < len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(left)


def _names_in(graph: onnx.GraphProto) -> set[str]:
    inner = [body for node in graph.node for body in bodies(node)]
    found = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    return found.union(*(_names_in(body) for body in inner))


def _refusal(node: onnx.NodeProto, why: str) -> InputError:
    return InputError(
        f"The node «{node.name}» ({node.op_type}) {why}, which opset {_NEW - 1} cannot say: give opset={_NEW}, or "
        "exporter='torchscript'."
    )
