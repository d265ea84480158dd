"""Make tensors inside a model visible as outputs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase

import onnx

from quantlab.errors import InputError
from quantlab.graph.stored_tensors import add_tensor, copy_fields
from quantlab.graph.view import Graph


def exposable(graph: Graph, what: str | Iterable[str] = "all", quantizable: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the float activations of the main graph that `what` asks for, in graph order.

    Parameters
    ----------
    graph
        The graph, normalised or not.
    what
        "all": every float16 and float32 activation, inputs and outputs included; "quantizable": those in
        `quantizable`; or names and patterns with `*`, `?` and `[…]`, each of which must match something.
    quantizable
        The tensors that a placement quantizes.

    Raises
    ------
    InputError
        A name or pattern matches no float activation; near matches are listed.
    """
    activations = graph.float_activations()
    if what == "all":
        return activations
    if what == "quantizable":
        patterns = tuple(quantizable)
        found = {name: {name} & {*activations} for name in patterns}
    else:
        patterns = (what,) if isinstance(what, str) else tuple(what)
        found = {pattern: _matches(pattern, activations) for pattern in patterns}
    for pattern in patterns:
        if not found[pattern]:
            raise InputError(_nothing_matches(pattern, graph))
    wanted: set[str] = set().union(*found.values())
    return tuple(name for name in activations if name in wanted)


def expose(
    proto: onnx.ModelProto, names: Iterable[str], *, keep_outputs: bool = True, weights: bool = True
) -> onnx.ModelProto:
    """Return a copy of a model that has these tensors as outputs too, each with its type and known shape.

    The model's own outputs come first, then `names` in their order, none twice; without `keep_outputs` exactly
    `names`. The initializers are copied tensor by tensor, or left out without `weights`.

    Raises
    ------
    InputError
        The model has no such tensor, or its element type is not known.
    """
    graph = Graph(proto)
    own = {output.name: output for output in proto.graph.output}
    wanted = dict.fromkeys((*(own if keep_outputs else ()), *names))
    probed = onnx.ModelProto()
    copy_fields(probed, proto, but=("graph",))
    copy_fields(probed.graph, proto.graph, but=("output", "initializer"))
    for tensor in proto.graph.initializer if weights else ():
        add_tensor(probed.graph.initializer, tensor)
    probed.graph.output.extend(own.get(name) or _described(name, graph) for name in wanted)
    return probed


def _matches(pattern: str, names: Iterable[str]) -> set[str]:
    """Return the names that a pattern matches; a name matches itself even if it contains brackets."""
    return {name for name in names if name == pattern or fnmatchcase(name, pattern)}


def _described(name: str, graph: Graph) -> onnx.ValueInfoProto:
    dtype, shape = graph.dtype(name), graph.shape(name)
    if name not in graph.tensors() or dtype is None:
        raise InputError(_nothing_matches(name, graph))
    sizes = None if shape is None else [None if size == "?" else size for size in shape]
    return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(dtype), sizes)


def _nothing_matches(pattern: str, graph: Graph) -> str:
    if pattern in graph.tensors():
        return (
            f"Tensor '{pattern}' is not a float activation (its type is {graph.dtype(pattern) or 'unknown'}): "
            "only float16 and float32 tensors are observed."
        )
    if graph.is_constant(pattern):
        return f"Tensor '{pattern}' is a constant, and only activations are observed: weights need no data."
    activations = graph.float_activations()
    near = difflib.get_close_matches(pattern, activations, n=3, cutoff=0.5)
    hint = "near matches are" if near else f"it has {len(activations)}, the first are"
    listed = ", ".join(map(repr, near or activations[:3]))
    return f"No float activation of the model matches '{pattern}': {hint} {listed}."
