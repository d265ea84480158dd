"""A copy of a graph in which some operands are read from a DequantizeLinear of stored integers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx

from quantlab.graph.stored_tensors import add_tensor, copy_fields
from quantlab.graph.view import Graph, captured


class OperandSwap:
    """Collects what is read from where, then writes the copy; the graph itself is not changed.

    A DequantizeLinear stands straight before the first node that reads it; constants that nobody reads any more go.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._taken = {*graph.inputs, *graph.initializers}
        for node in graph.nodes:
            self._taken.update((node.name, *node.output, *captured(node)))
        self._before: dict[str, list[onnx.NodeProto]] = {}
        self._operands: dict[tuple[str, int], str] = {}
        self._stored: list[onnx.TensorProto] = []

    def new(self, wish: str) -> str:
        """Return `wish`, or with a number after it if the model has that name already; it counts as taken then."""
        name, number = wish, 1
        while name in self._taken:
            name, number = f"{wish}_{number}", number + 1
        self._taken.add(name)
        return name

    def store(self, tensor: onnx.TensorProto) -> None:
        """Add an initializer."""
        self._stored.append(tensor)

    def dequantize(
        self, tensor: str, places: Sequence[tuple[str, int]], inputs: Iterable[str], **attributes: int
    ) -> None:
        """Let these operands (node name, input index; in graph order), which read `tensor`, read a DQ of `inputs`."""
        output = self.new(f"{tensor}_dequantized")
        name = self.new(f"{tensor}_DequantizeLinear")
        node = onnx.helper.make_node("DequantizeLinear", list(inputs), [output], name)
        node.attribute.extend(onnx.helper.make_attribute(key, value) for key, value in attributes.items())
        self._before.setdefault(places[0][0], []).append(node)
        self._operands |= dict.fromkeys(places, output)

    def write(self) -> onnx.ModelProto:
        """Return the copy."""
        source = self.graph.proto
        proto = onnx.ModelProto()
        copy_fields(proto, source, but=("graph",))
        copy_fields(proto.graph, source.graph, but=("node", "initializer", "input"))
        for node in self.graph.nodes:
            proto.graph.node.extend(self._before.get(node.name, ()))
            proto.graph.node.append(node)
            inputs = [self._operands.get((node.name, i), t) for i, t in enumerate(node.input)]
            proto.graph.node[-1].input[:] = inputs
        gone = self._unread(proto.graph)
        proto.graph.input.extend(i for i in source.graph.input if i.name not in gone)
        for tensor in (*source.graph.initializer, *self._stored):
            if tensor.name not in gone:
                add_tensor(proto.graph.initializer, tensor)
        return proto

    def _unread(self, graph: onnx.GraphProto) -> set[str]:
        places = {(node.name, i): t for node in self.graph.nodes for i, t in enumerate(node.input)}
        read = {name for node in graph.node for name in (*node.input, *captured(node))}
        return {places[place] for place in self._operands} - read - {o.name for o in graph.output}
