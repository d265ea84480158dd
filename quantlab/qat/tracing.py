"""A module as a graph of torch functions, on whose edges quantizers can sit: by torch.fx, or by torch.export."""

from __future__ import annotations

import copy
import inspect
import io
import operator
import warnings
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree

from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray
from quantlab.qat.export_example import Arguments, first_sentence
from quantlab.qat.onnx_tracing import evaluating

Tracer = Literal["fx", "export", "calls"]
"""What followed the module: torch.fx, torch.export, or a record of the calls that its forward makes."""

WEIGHTED = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)

_IN_PLACE = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}

_CHECKS = (torch._assert, getattr(fx._symbolic_trace, "_assert_is_none", None))
"""How torch.fx has a graph refuse other values than the defaults it was traced with."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One tensor that a node of the traced graph reads: the node's name, and which of its arguments that are nodes."""

    node: str
    index: int


def traced_by_fx(model: nn.Module, arguments: Arguments) -> fx.GraphModule:
    """Return a copy of the module as a graph in eval mode; weighted layers are calls of torch's functions.

    Convolutions and Linear, and what is derived from them, are traced through, so that the graph reads the same
    whether a class or a function is used. Nothing works in place any more. Parameters keep their names.

    Raises
    ------
    InputError
        When torch.fx cannot follow the module.
    """
    whole = copy.deepcopy(model)
    tracer = _Tracer()
    with evaluating(whole):
        try:
            graph = tracer.trace(whole, concrete_args=_defaults(whole, arguments))
        except Exception as error:  # the user's own forward runs, on objects that it does not expect
            raise InputError(f"torch.fx cannot follow {type(model).__name__} ({first_sentence(error)}).") from error
    _drop_defaults(graph)
    _out_of_place(graph, dict(whole.named_modules()))
    module = fx.GraphModule(whole, graph)
    module.eval()
    return module


def traced_by_export(model: nn.Module, arguments: Arguments, *, batched: bool) -> fx.GraphModule:
    """Return a copy of the module as the graph of ATen operators that torch.export makes in eval mode.

    Dropout is gone and BatchNorm uses its statistics, in training too.

    Raises
    ------
    InputError
        When torch.export cannot follow the module.
    """
    whole = copy.deepcopy(model)
    given = arguments.doubled() if batched else arguments
    free = [{0: torch.export.Dim("batch")} if batched and given.is_batched(t) else None for t in given.tensors]
    by_place, by_name = free[: len(given.positional)], free[len(given.positional) :]
    shapes: Any = dict(zip(given.named, by_name, strict=True)) if given.named else tuple(by_place)
    said = io.StringIO()  # torch.export prints the graph of what it cannot follow
    with evaluating(whole), redirect_stdout(said), redirect_stderr(said), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`isinstance\(treespec", FutureWarning)  # torch's code calls torch's code
        try:
            program = torch.export.export(whole, given.positional, dict(given.named), dynamic_shapes=shapes)
            module = program.module()
            graph = copy.deepcopy(module.graph)
        except Exception as error:  # torch.export raises errors of every kind
            raise InputError(f"torch.export cannot follow {type(model).__name__} ({first_sentence(error)}).") from error
    for node in list(graph.nodes):
        if node.op == "call_module" and node.target.startswith("_guards"):
            graph.erase_node(node)  # it checks sizes of inputs, which the model itself does
    output = next(node for node in graph.nodes if node.op == "output")
    output.args = (_pytree.tree_unflatten(list(output.args[0]), program.call_spec.out_spec),)
    graph.set_codegen(fx.graph.CodeGen())
    plain = fx.GraphModule(module, graph)
    plain.eval()
    return plain


def edges(node: fx.Node) -> Iterator[tuple[Edge, fx.Node]]:
    """Yield what a node reads, in the order of its arguments; a value that is read twice comes twice."""
    found: list[fx.Node] = []
    fx.node.map_arg((node.args, node.kwargs), found.append)
    yield from ((Edge(node.name, index), read) for index, read in enumerate(found))


def set_edges(node: fx.Node, values: Mapping[int, fx.Node]) -> None:
    """Let a node read other values at some of its edges."""
    numbers = count()

    def replaced(read: fx.Node) -> fx.Node:
        return values.get(next(numbers), read)

    args, kwargs = fx.node.map_arg((node.args, node.kwargs), replaced)
    node.args, node.kwargs = args, kwargs


def from_inputs(graph: fx.Graph) -> frozenset[str]:
    """Return the names of the nodes whose values depend on the inputs."""
    found: set[str] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or any(read.name in found for read in node.all_input_nodes):
            found.add(node.name)
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Watched:
    """What a traced graph computes on the example.

    Attributes
    ----------
    shapes
        Of each value that is a float tensor.
    constants
        The float values that depend on no input, arrays that share the parameters' memory.
    """

    shapes: Mapping[str, tuple[int, ...]]
    constants: Mapping[str, AnyArray]


def watched(module: fx.GraphModule, arguments: Arguments) -> Watched:
    """Run a graph on the example, in eval mode.

    Raises
    ------
    InputError
        When it fails.
    """
    changing = from_inputs(module.graph)
    shapes: dict[str, tuple[int, ...]] = {}
    constants: dict[str, AnyArray] = {}

    class Watch(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            found = super().run_node(n)
            if isinstance(found, Tensor) and found.is_floating_point():
                shapes[n.name] = tuple(found.shape)
                if n.name not in changing and found.dtype == torch.float32:
                    constants[n.name] = found.detach().cpu().numpy()
            return found

    targets = [str(n.target) for n in module.graph.nodes if n.op == "placeholder"]
    named = [arguments.named[name] for name in targets[len(arguments.positional) :] if name in arguments.named]
    with torch.no_grad(), evaluating(module):
        try:
            Watch(module).run(*arguments.positional, *named)
        except Exception as error:  # whatever the user's own functions raise
            raise InputError(
                f"The graph of {type(module).__name__} fails on the example ({first_sentence(error)})."
            ) from error
    return Watched(shapes, constants)


class _Tracer(fx.Tracer):
    proxy_buffer_attributes = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not isinstance(m, WEIGHTED) and super().is_leaf_module(m, module_qualified_name)


def _defaults(model: nn.Module, arguments: Arguments) -> dict[str, Any]:
    """Return the parameters of forward that the example leaves out, with their defaults."""
    found = {}
    for place, parameter in enumerate(inspect.signature(model.forward).parameters.values()):
        given = place < len(arguments.positional) or parameter.name in arguments.named
        if not given and parameter.default is not inspect.Parameter.empty:
            found[parameter.name] = parameter.default
    return found


def _drop_defaults(graph: fx.Graph) -> None:
    """Remove the inputs that stand for defaults, and torch.fx's own checks that nobody gives others."""
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target in _CHECKS and not node.users:
            graph.erase_node(node)
    for node in reversed(list(graph.nodes)):
        if node.users or node.op not in {"placeholder", "call_function"}:
            continue
        if (node.op == "placeholder" and node.args) or node.target is operator.eq:
            graph.erase_node(node)


def _out_of_place(graph: fx.Graph, modules: Mapping[str, nn.Module]) -> None:
    """Replace what works in place by what does not; later readers of the changed value read the result."""
    for node in list(graph.nodes):
        if node.op == "call_module":
            module = modules[node.target]
            if not getattr(module, "inplace", False):
                continue
            module.inplace = False  # type: ignore[assignment]
        elif node.kwargs.get("inplace"):
            node.update_kwarg("inplace", False)
        elif node.op == "call_function" and node.target in _IN_PLACE:
            node.target = _IN_PLACE[node.target]
        elif node.op == "call_method" and _is_in_place(node.target):
            node.target = node.target[:-1]
        else:
            continue
        _read_result(node)


def _is_in_place(method: str) -> bool:
    return method.endswith("_") and not method.endswith("__") and hasattr(Tensor, method[:-1])


def _read_result(node: fx.Node) -> None:
    changed = node.args[0] if node.args else None
    if isinstance(changed, fx.Node):
        changed.replace_all_uses_with(node, delete_user_cb=lambda user: user > node)
