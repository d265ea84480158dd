"""The operator that computes nothing and tells, in an ONNX model, which tensor a value of the module became."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from quantlab.graph.names import name_nodes
from quantlab.qat.export_example import Example
from quantlab.qat.onnx_export import ExportOptions
from quantlab.qat.onnx_tracing import traced

_DOMAIN = "quantlab"
_OPERATOR = "Mark"
_OLDEST_OPSET = 9


@torch.library.custom_op("quantlab::mark", mutates_args=())
def mark(x: Tensor, name: str) -> Tensor:  # noqa: ARG001 - for the exporter
    """Return `x`; an exporter writes a node of this name."""
    return x.clone()


@mark.register_fake
def _(x: Tensor, name: str) -> Tensor:  # noqa: ARG001 - the operator's own signature
    return torch.empty_like(x)


@dataclass(frozen=True, slots=True)
class Unmarked:
    """An ONNX model without its marks.

    Attributes
    ----------
    proto
        Not normalised; its nodes have names.
    operands
        (node, input index) → the text of the last mark before it.
    tensors
        Text of a mark → the tensors behind which it stood, in the order of the nodes.
    """

    proto: onnx.ModelProto
    operands: Mapping[tuple[str, int], str]
    tensors: Mapping[str, tuple[str, ...]]


def exported_unmarked(module: nn.Module, example: Example, *, options: ExportOptions) -> Unmarked:
    """Export a module whose forward calls `mark`, and take the marks out again.

    Raises
    ------
    InputError, MachineError, UsageError
        As `quantlab.qat.export`.
    """
    with _registered():
        translations: dict[Any, Any] = {torch.ops.quantlab.mark.default: _translation()}
        return _unmarked(traced(module, example, options=options, translations=translations))


@contextmanager
def _registered() -> Iterator[None]:
    """Tell the TorchScript exporter of marks, for a while."""
    onnx_of_torch: Any = torch.onnx
    onnx_of_torch.register_custom_op_symbolic("quantlab::mark", _symbolic, _OLDEST_OPSET)
    try:
        yield
    finally:
        onnx_of_torch.unregister_custom_op_symbolic("quantlab::mark", _OLDEST_OPSET)


def _symbolic(g: Any, x: Any, name: Any) -> Any:
    written = g.op(f"{_DOMAIN}::{_OPERATOR}", x, name_s=torch.onnx.symbolic_helper._maybe_get_const(name, "s"))
    written.setType(x.type())
    return written


def _translation() -> Any:
    """Return what tells the dynamo exporter of marks."""
    try:
        import onnxscript
    except ImportError:  # then this exporter cannot be asked for either
        return None
    text = onnx.defs.OpSchema.AttrType.STRING
    parameter, attribute = onnx.defs.OpSchema.FormalParameter, onnx.defs.OpSchema.Attribute
    floats = ["tensor(float)", "tensor(float16)", "tensor(bfloat16)", "tensor(double)"]
    schema = onnx.defs.OpSchema(
        _OPERATOR,
        _DOMAIN,
        1,
        inputs=[parameter("x", "T")],
        outputs=[parameter("y", "T")],
        type_constraints=[("T", floats, "")],
        attributes=[attribute("name", text, "", required=True)],
    )
    written = onnxscript.values.Op(onnxscript.values.Opset(_DOMAIN, 1), _OPERATOR, schema)

    def translated(x: Any, name: str) -> Any:
        return written(x, name=name)

    return translated


def _unmarked(proto: onnx.ModelProto) -> Unmarked:
    """Remove the marks from a model, in place."""
    graph = proto.graph
    marks = {n.output[0]: n for n in graph.node if n.domain == _DOMAIN and n.op_type == _OPERATOR}
    kept = [node for node in graph.node if not marks.keys() & set(node.output)]
    name_nodes(kept)

    def bare(name: str) -> str:
        while name in marks:
            name = marks[name].input[0]
        return name

    tensors: dict[str, tuple[str, ...]] = {}
    for node in marks.values():
        tensors[_text(node)] = (*tensors.get(_text(node), ()), bare(node.input[0]))
    operands = {}
    for node in kept:
        for index, name in enumerate(node.input):
            if name in marks:
                operands[node.name, index] = _text(marks[name])
                node.input[index] = bare(name)
    ended = [output.name for output in graph.output if output.name in marks]  # an output keeps its name
    kept += [onnx.helper.make_node("Identity", [bare(name)], [name], f"{name}/mark") for name in ended]
    _keep(graph.node, [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept])
    _keep(proto.opset_import, [entry for entry in proto.opset_import if entry.domain != _DOMAIN])
    _keep(graph.value_info, [info for info in graph.value_info if info.name not in marks])
    return Unmarked(proto, operands, tensors)


def _keep(entries: Any, kept: list[Any]) -> None:
    del entries[:]
    entries.extend(kept)


def _text(node: onnx.NodeProto) -> str:
    return next(attribute.s.decode() for attribute in node.attribute if attribute.name == "name")
