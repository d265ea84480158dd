"""A read-only index of a model's main graph: who makes a tensor, who reads it, its shape, type and value."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from quantlab.errors import InputError

Shape = tuple[int | str, ...]

CAPTURED = -1
"""Input index of a use inside a body: an If, Loop or Scan that reads a tensor of the outer graph."""

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
_LARGE = 1024  # elements; longer constants cannot be shapes, axes or sizes, so inference needs their type only
_PROTOBUF_LIMIT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Use:
    """One place where a tensor is read: `node.input[input_index]`, or a body of `node` (`CAPTURED`)."""

    node: onnx.NodeProto
    input_index: int


class Graph:
    """Index of the main graph of `proto`, which must not change while the index is in use.

    Nodes come in topological order (the file's own where that is valid). Bodies of If, Loop and Scan are not
    indexed; the outer tensors they read count as read by the node that holds the body.

    Raises
    ------
    InputError
        The graph has a cycle, or two nodes write the same tensor.
    """

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.proto = proto
        graph = proto.graph
        self._producers = _producers(graph.node)
        self.nodes: tuple[onnx.NodeProto, ...] = _topological(graph.node, self._producers)
        self._stored = {i.name: i for i in graph.initializer}
        self._constants = self._stored | _constant_nodes(self.nodes)
        self.initializers: tuple[str, ...] = tuple(self._stored)
        self.inputs: tuple[str, ...] = tuple(i.name for i in graph.input if i.name not in self._stored)
        self.outputs: tuple[str, ...] = tuple(o.name for o in graph.output)
        self._output_set = frozenset(self.outputs)
        self._consumers = _consumers(self.nodes)
        self._position = {name: i for i, node in enumerate(self.nodes) for name in node.output if name}

    def producer(self, tensor: str) -> onnx.NodeProto | None:
        """Return the node that writes `tensor`; None for inputs, initializers and unknown names."""
        return self._producers.get(tensor)

    def consumers(self, tensor: str) -> tuple[Use, ...]:
        """Return every use of `tensor`, in node order; being a graph output is not a use (`is_output`)."""
        return self._consumers.get(tensor, ())

    def is_output(self, tensor: str) -> bool:
        """Tell whether `tensor` is an output of the model."""
        return tensor in self._output_set

    def is_constant(self, tensor: str) -> bool:
        """Tell whether `tensor` is an initializer or written by a Constant node."""
        return tensor in self._constants

    def constant(self, tensor: str) -> NDArray[Any] | None:
        """Return the value of an initializer or Constant node; None for everything else."""
        stored = self._constants.get(tensor)
        return None if stored is None else onnx.numpy_helper.to_array(stored)

    def position(self, tensor: str) -> int:
        """Return the index in `nodes` of the node that writes `tensor`, -1 for inputs and initializers."""
        return self._position.get(tensor, -1)

    def shape(self, tensor: str) -> Shape | None:
        """Return the shape, open dimensions as their name or "?"; None if even the rank is unknown."""
        stored = self._constants.get(tensor)
        if stored is not None:
            return tuple(stored.dims)
        info = self._types.get(tensor)
        if info is None or not info.HasField("shape"):
            return None
        return tuple(_dimension(d) for d in info.shape.dim)

    def dtype(self, tensor: str) -> np.dtype[Any] | None:
        """Return the element type, None if shape inference could not find it."""
        kind = self.element_type(tensor)
        return None if kind == onnx.TensorProto.UNDEFINED else onnx.helper.tensor_dtype_to_np_dtype(kind)

    def element_type(self, tensor: str) -> int:
        """Return the number of the element type in ONNX, which keeps 4-bit and 8-bit types apart; UNDEFINED if unknown."""
        stored = self._constants.get(tensor)
        if stored is not None:
            return stored.data_type
        info = self._types.get(tensor)
        return onnx.TensorProto.UNDEFINED if info is None else info.elem_type

    def tensors(self) -> tuple[str, ...]:
        """Return inputs and all tensors that nodes write, constants left out, in graph order."""
        written = (name for node in self.nodes for name in node.output)
        return (*self.inputs, *(n for n in written if n and n not in self._constants))

    def float_activations(self) -> tuple[str, ...]:
        """Return the float16 and float32 tensors among `tensors()`, in the same order."""
        return tuple(t for t in self.tensors() if self.element_type(t) in _FLOATS)

    @cached_property
    def _types(self) -> Mapping[str, onnx.TypeProto.Tensor]:
        """Tensor types, inferred on first need from a copy without the large constants."""
        graph = _inferred(self.proto, self.nodes).graph
        infos = (*graph.value_info, *graph.input, *graph.output)
        return MappingProxyType({i.name: i.type.tensor_type for i in infos if i.type.HasField("tensor_type")})


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs that `node` holds in its attributes (If, Loop, Scan)."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """Return the value of one attribute of `node`, or `default`."""
    return next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def operator(node: onnx.NodeProto) -> str:
    """Return the type of the operator, "domain::type" outside ONNX: there a name like Conv may mean anything."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"


def captured(node: onnx.NodeProto) -> tuple[str, ...]:
    """Return the outer tensors that the bodies of `node` read, each once, in order of first use."""
    return tuple(dict.fromkeys(name for body in bodies(node) for name in _free(body)))


def _free(body: onnx.GraphProto) -> Iterator[str]:
    own = {i.name for i in (*body.input, *body.initializer)} | {o for n in body.node for o in n.output}
    read = (name for n in body.node for name in (*n.input, *captured(n)))
    yield from (name for name in (*read, *(o.name for o in body.output)) if name and name not in own)


def _producers(nodes: Iterable[onnx.NodeProto]) -> dict[str, onnx.NodeProto]:
    found: dict[str, onnx.NodeProto] = {}
    for node in nodes:
        for name in node.output:
            if name in found:
                raise InputError(
                    f"Tensor '{name}' is written by two nodes ('{found[name].name}' and '{node.name}'): "
                    "the model is not valid ONNX; export it again."
                )
            if name:
                found[name] = node
    return found


def _consumers(nodes: Iterable[onnx.NodeProto]) -> dict[str, tuple[Use, ...]]:
    found: dict[str, list[Use]] = {}
    for node in nodes:
        for index, name in enumerate(node.input):
            if name:
                found.setdefault(name, []).append(Use(node, index))
        for name in captured(node):
            found.setdefault(name, []).append(Use(node, CAPTURED))
    return {name: tuple(uses) for name, uses in found.items()}


def _topological(
    nodes: Iterable[onnx.NodeProto], producers: Mapping[str, onnx.NodeProto]
) -> tuple[onnx.NodeProto, ...]:
    listed = tuple(nodes)
    index = {name: i for i, node in enumerate(listed) for name in node.output if name in producers}
    waiting: list[set[int]] = []
    readers: dict[int, list[int]] = {}
    for i, node in enumerate(listed):
        needs = {index[name] for name in (*node.input, *captured(node)) if name in index}
        waiting.append(needs)
        for need in needs:
            readers.setdefault(need, []).append(i)
    ready = [i for i, needs in enumerate(waiting) if not needs]
    order = []
    while ready:
        done = heapq.heappop(ready)  # the smallest index first keeps the file's own order where it is valid
        order.append(listed[done])
        for i in readers.get(done, ()):
            waiting[i].discard(done)
            if not waiting[i]:
                heapq.heappush(ready, i)
    if len(order) < len(listed):
        stuck = next(node for node, needs in zip(listed, waiting, strict=True) if needs)
        raise InputError(f"The graph has a cycle through node '{stuck.name}': export the model again.")
    return tuple(order)


def _constant_nodes(nodes: Iterable[onnx.NodeProto]) -> dict[str, onnx.TensorProto]:
    found = {}
    for node in nodes:
        if operator(node) == "Constant" and len(node.attribute) == 1:
            value = onnx.helper.get_attribute_value(node.attribute[0])
            if not isinstance(value, onnx.TensorProto):
                if not isinstance(value, int | float | list):
                    continue  # value_string and sparse_value hold nothing that this index serves
                kind = np.float32 if node.attribute[0].name.startswith("value_float") else np.int64
                value = onnx.numpy_helper.from_array(np.asarray(value, dtype=kind))
            found[node.output[0]] = value
    return found


def _inferred(proto: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> onnx.ModelProto:
    light = onnx.ModelProto(ir_version=proto.ir_version)
    light.opset_import.extend(proto.opset_import)
    light.functions.extend(proto.functions)
    graph = light.graph
    graph.name = proto.graph.name
    stored = {i.name for i in proto.graph.initializer}
    graph.input.extend(i for i in proto.graph.input if i.name not in stored)
    graph.output.extend(proto.graph.output)
    graph.value_info.extend(proto.graph.value_info)
    for tensor in proto.graph.initializer:
        _keep_or_declare(graph, tensor.name, tensor)
    constants = _constant_nodes(nodes)
    for node in nodes:
        value = constants.get(node.output[0]) if node.output else None
        if value is None:
            graph.node.append(node)
        else:
            _keep_or_declare(graph, node.output[0], value)
    if light.ByteSize() > _PROTOBUF_LIMIT:
        return light  # only bodies with gigabytes of constants get here: the declared types must do
    return onnx.shape_inference.infer_shapes(light, strict_mode=False, data_prop=True)


def _keep_or_declare(graph: onnx.GraphProto, name: str, tensor: onnx.TensorProto) -> None:
    if int(np.prod(tensor.dims, dtype=np.int64)) > _LARGE:
        graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.data_type, tensor.dims))
        return
    graph.initializer.append(tensor)
    graph.initializer[-1].name = name


def _dimension(dim: onnx.TensorShapeProto.Dimension) -> int | str:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return dim.dim_param or "?"
