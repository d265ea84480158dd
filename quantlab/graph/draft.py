"""A main graph while the passes of `normalise` work on it; the model it started from is never changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import onnx

from quantlab.graph.stored_tensors import add_tensor, copy_fields, is_small
from quantlab.graph.view import Graph, captured


@dataclass(slots=True)
class Draft:
    """Nodes in topological order, constants by name, and what the passes have to say.

    `nodes` are copies and may be edited in place; the tensors in `constants` are shared with the model and may
    only be replaced. `same` maps a tensor that vanished to one that holds the same values, `renamed` a new name to
    the user's, `gone` lists tensors that exist no more. `made` are the constants that the user's model held in
    nodes or did not hold at all.
    """

    header: onnx.ModelProto
    nodes: list[onnx.NodeProto]
    constants: dict[str, onnx.TensorProto]
    made: set[str] = field(default_factory=set)
    same: dict[str, str] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, light: onnx.ModelProto, weights: Mapping[str, onnx.TensorProto]) -> Draft:
        """Start from a light copy and the large initializers it left out.

        Initializers that are graph inputs too (defaults that a caller could replace) become plain constants.
        """
        header = onnx.ModelProto()
        copy_fields(header, light, but=("graph",))
        graph = Graph(light)
        constants = {t.name: t for t in light.graph.initializer} | dict(weights)
        copy_fields(header.graph, light.graph, but=("node", "initializer", "input", "value_info"))
        header.graph.input.extend(i for i in light.graph.input if i.name not in constants)
        foreign = {name for node in graph.nodes if node.domain not in ("", "ai.onnx") for name in node.output}
        # Shape inference knows the standard operators; what a file claims about them may be out of date.
        header.graph.value_info.extend(i for i in light.graph.value_info if i.name in foreign)
        nodes = [onnx.NodeProto() for _ in graph.nodes]
        for copy, node in zip(nodes, graph.nodes, strict=True):
            copy.CopyFrom(node)
        return cls(header, nodes, constants)

    @property
    def outputs(self) -> frozenset[str]:
        """Names of the graph's outputs."""
        return frozenset(o.name for o in self.header.graph.output)

    def captured(self) -> frozenset[str]:
        """Return the tensors that bodies of If, Loop and Scan read."""
        return frozenset(name for node in self.nodes for name in captured(node))

    def uses(self) -> Counter[str]:
        """Return how often each tensor is read: by nodes, by bodies, and as an output of the graph."""
        read = Counter(name for node in self.nodes for name in (*node.input, *captured(node)) if name)
        read.update(self.outputs)
        return read

    def unused_name(self, wanted: str) -> str:
        """Return `wanted`, with a number if a tensor of that name exists."""
        taken = set(self._names())
        tries = (wanted, *(f"{wanted}_{i}" for i in range(1, len(taken) + 2)))
        return next(name for name in tries if name not in taken)

    def light(self) -> onnx.ModelProto:
        """Return the graph as a model with its large constants declared as inputs."""
        proto = self._shell()
        for output in proto.graph.output:
            output.type.tensor_type.ClearField("shape")  # to be inferred: what the file claims may be out of date
        for name, tensor in self.constants.items():
            if is_small(tensor):
                add_tensor(proto.graph.initializer, tensor).name = name
            else:
                info = onnx.helper.make_tensor_value_info(name, tensor.data_type, tensor.dims)
                proto.graph.input.append(info)
        return proto

    def finished(self) -> onnx.ModelProto:
        """Return the graph as a model; each constant is copied once."""
        proto = self._shell()
        for name, tensor in self.constants.items():
            add_tensor(proto.graph.initializer, tensor).name = name
        return proto

    def _shell(self) -> onnx.ModelProto:
        proto = onnx.ModelProto()
        copy_fields(proto, self.header)
        proto.graph.node.extend(self.nodes)
        return proto

    def _names(self) -> Iterator[str]:
        yield from self.constants
        yield from (i.name for i in self.header.graph.input)
        for node in self.nodes:
            yield from (*node.output, *captured(node))


def some(names: Sequence[str]) -> str:
    """List the first few of many names."""
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
