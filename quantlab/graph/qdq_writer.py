"""Writes a graph anew with Q/DQ pairs in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from quantlab.calibration.scale_table import Scale
from quantlab.calibration.weight_methods import WeightMethod
from quantlab.graph.patterns import source
from quantlab.graph.placement import Place, Placement, Site, WeightSite
from quantlab.graph.site_params import needed
from quantlab.graph.view import Graph, attribute, bodies, operator
from quantlab.graph.weights import int8_initializer, int32_bias, room_for_bias, weight_row
from quantlab.numerics.affine import QuantParams


class QdqWriter:
    """Collects what changes, then writes a copy of the model: nodes in graph order, each pair after its producer.

    `stored`: weights are kept as INT8 behind DQ instead of float32 behind Q and DQ.
    """

    def __init__(self, graph: Graph, placement: Placement, params: Mapping[str, QuantParams], *, stored: bool) -> None:
        self._graph = graph
        self._placement = placement
        self._params = params
        self._stored = stored
        self._taken = set(_names(graph.proto.graph))
        self._sites = {t: s for t, s in placement.activations.items() if needed(s, params[t])}
        self._renamed: dict[str, str] = {}
        self._operands: dict[Place, str] = {}
        self._before: dict[str, list[onnx.NodeProto]] = {}
        self._after: dict[str, list[onnx.NodeProto]] = {}
        self._initializers: list[onnx.TensorProto] = []
        self._biases = _int32_biases(graph, params) if placement.target.tensorrt is None else {}
        for tensor in graph.tensors():
            if tensor in self._sites:
                self._add_activation(self._sites[tensor])

    def add_weights(self, rows: Mapping[str, Scale], method: WeightMethod | None) -> tuple[Scale, ...]:
        """Quantize the placement's weights with their rows or, where none fits, by `method`; return the rows."""
        found = []
        for sites in self._placement.weights.values():
            for site in sites:
                row = self._row(site, rows, method)
                found.append(row)
                self._add_weight(site, row.params)
        return tuple(found)

    def write(self) -> onnx.ModelProto:
        """Return the new model."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self._graph.proto)
        nodes = list(self._nodes())
        del proto.graph.node[:]
        proto.graph.node.extend(nodes)
        self._drop_unread_weights(proto.graph)
        proto.graph.initializer.extend(self._initializers)
        return proto

    def _add_activation(self, site: Site) -> None:
        name, params = site.tensor, self._params[site.tensor]
        if site.output:
            self._renamed[name] = self._new(f"{name}_float")
        scale, zero_point = self._constants(name, params)
        quantized = self._new(f"{name}_quantized")
        dequantized = name if site.output else self._new(f"{name}_dequantized")
        self._after[name] = [
            self._node("QuantizeLinear", name, [self._renamed.get(name, name), scale, zero_point], quantized),
            self._node("DequantizeLinear", name, [quantized, scale, zero_point], dequantized),
        ]
        self._operands |= dict.fromkeys(site.uses, dequantized)

    def _row(self, site: WeightSite, rows: Mapping[str, Scale], method: WeightMethod | None) -> Scale:
        weight = self._value(site.weight)
        row = rows.get(site.weight)
        channels = 1 if site.axis is None else weight.shape[site.axis]
        fits = row is not None and row.role == "weight" and row.axis == site.axis and len(row.scale) == channels
        if row is None or not fits or row.dtype != "int8" or any(row.zero_point):
            row = weight_row(site.weight, weight, site.axis, method)
        params = row.params
        for bias, tensor in self._biases_beside(site).values():
            params = room_for_bias(params, self._value(bias), self._params[tensor].scale)
        if np.array_equal(params.scale, row.params.scale):
            return row
        method_name = f"{row.method}, widened for the INT32 bias"
        return Scale.of(site.weight, params, role="weight", shape=weight.shape, method=method_name)

    def _add_weight(self, site: WeightSite, params: QuantParams) -> None:
        name = site.weight
        scale, zero_point = self._constants(name, params)
        quantized, dequantized = self._new(f"{name}_quantized"), self._new(f"{name}_dequantized")
        first = self._before.setdefault(site.uses[0][0], [])
        if self._stored:
            self._initializers.append(int8_initializer(quantized, self._value(name), params))
        else:
            first.append(self._node("QuantizeLinear", name, [name, scale, zero_point], quantized, params.axis))
        first.append(self._node("DequantizeLinear", name, [quantized, scale, zero_point], dequantized, params.axis))
        self._operands |= dict.fromkeys(site.uses, dequantized)
        for node, (bias, tensor) in self._biases_beside(site).items():
            self._add_bias(node, bias, tensor, params)

    def _biases_beside(self, site: WeightSite) -> dict[str, tuple[str, str]]:
        return {name: self._biases[name] for name, index in site.uses if index == 1 and name in self._biases}

    def _add_bias(self, node: str, bias: str, tensor: str, weight: QuantParams) -> None:
        integers, steps = int32_bias(self._value(bias), self._params[tensor].scale, weight.scale)
        quantized, scale = self._new(f"{bias}_quantized"), self._new(f"{bias}_scale")
        zero_point, dequantized = self._new(f"{bias}_zero_point"), self._new(f"{bias}_dequantized")
        self._constant(quantized, integers)
        self._constant(scale, steps)
        self._constant(zero_point, np.zeros(steps.shape, np.int32))
        inputs, axis = [quantized, scale, zero_point], None if weight.axis is None else 0
        pair = self._node("DequantizeLinear", bias, inputs, dequantized, axis)
        self._before.setdefault(node, []).append(pair)
        self._operands[node, 2] = dequantized

    def _nodes(self) -> Iterator[onnx.NodeProto]:
        for name in self._graph.inputs:
            yield from self._after.get(name, ())
        for node in self._graph.nodes:
            yield from self._before.get(node.name, ())
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.input[:] = [self._operands.get((node.name, i), t) for i, t in enumerate(node.input)]
            copy.output[:] = [self._renamed.get(t, t) for t in node.output]
            yield copy
            for name in node.output:
                yield from self._after.get(name, ())

    def _drop_unread_weights(self, graph: onnx.GraphProto) -> None:
        gone = set(self._replaced()) - set(_read(graph))
        kept = [tensor for tensor in graph.initializer if tensor.name not in gone]
        if len(kept) < len(graph.initializer):
            del graph.initializer[:]
            graph.initializer.extend(kept)
        inputs = [value for value in graph.input if value.name not in gone]
        del graph.input[:]
        graph.input.extend(inputs)

    def _replaced(self) -> Iterator[str]:
        inputs = {(node.name, i): t for node in self._graph.nodes for i, t in enumerate(node.input)}
        return (inputs[place] for place in self._operands if self._graph.is_constant(inputs[place]))

    def _constants(self, name: str, params: QuantParams) -> tuple[str, str]:
        scale, zero_point = self._new(f"{name}_scale"), self._new(f"{name}_zero_point")
        self._constant(scale, params.scale)
        self._constant(zero_point, params.zero_point.astype(params.dtype))
        return scale, zero_point

    def _constant(self, name: str, value: NDArray[np.generic]) -> None:
        self._initializers.append(numpy_helper.from_array(np.asarray(value), name))

    def _node(
        self, operator: str, tensor: str, inputs: Iterable[str], output: str, axis: int | None = None
    ) -> onnx.NodeProto:
        name = self._new(f"{tensor}_{operator}")
        node = onnx.helper.make_node(operator, list(inputs), [output], name)
        if axis is not None:
            node.attribute.append(onnx.helper.make_attribute("axis", axis))
        return node

    def _value(self, tensor: str) -> NDArray[np.generic]:
        value = self._graph.constant(tensor)
        if value is None:
            raise KeyError(tensor)
        return value

    def _new(self, wish: str) -> str:
        """Return `wish`, or with a number after it if the model has that name already."""
        name, number = wish, 1
        while name in self._taken:
            name, number = f"{wish}_{number}", number + 1
        self._taken.add(name)
        return name


def _int32_biases(graph: Graph, params: Mapping[str, QuantParams]) -> dict[str, tuple[str, str]]:
    """Return {node: (bias, quantized activation)} where the bias must be INT32 for an integer kernel.

    ONNX Runtime takes no other there, TensorRT no INT32 one.
    """
    found = {}
    for node in graph.nodes:
        if operator(node) in {"Conv", "Gemm"} and len(node.input) > 2 and attribute(node, "beta", 1.0) == 1.0:
            bias, tensor = node.input[2], source(graph, node.input[0])
            if graph.is_constant(bias) and len(graph.shape(bias) or ()) == 1 and tensor in params:
                found[node.name] = bias, tensor
    return found


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (value.name for value in (*graph.input, *graph.initializer, *graph.output))
    for node in graph.node:
        yield node.name
        yield from (*node.input, *node.output)
        for body in bodies(node):
            yield from _names(body)


def _read(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (output.name for output in graph.output)
    for node in graph.node:
        yield from node.input
        for body in bodies(node):
            yield from _read(body)
