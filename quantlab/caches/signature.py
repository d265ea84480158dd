"""What a node computes, apart from the names of its tensors, and hashes of what lies before and behind a tensor."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

import numpy as np
import onnx

from quantlab.graph.patterns import averages
from quantlab.graph.view import CAPTURED, Graph, bodies, operator

Level: TypeAlias = Literal["weights", "shapes"]
"""weights: constants count by their values; shapes: by type and shape, as after another training."""

COMMUTATIVE = frozenset({"Add", "Max", "Mean", "Min", "Mul", "Sum"})
_AVERAGE, _RESHAPE = "average", "reshape"
_RESHAPES = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})
_NEUTRAL: Mapping[str, int] = {"dilations": 1, "strides": 1, "pads": 0, "output_padding": 0}
_ENOUGH = 16  # elements of a constant that hardly occurs twice by chance


class Signatures:
    """Signatures of the nodes of one graph, computed once; constants are hashed once."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._constants: dict[tuple[str, Level], str] = {}
        self._nodes: dict[tuple[str, Level], str] = {}

    def of(self, node: onnx.NodeProto, level: Level) -> str:
        """Return operator, attributes that differ from their defaults, and constant inputs; nodes have names."""
        key = node.name, level
        if key not in self._nodes:
            kind = _kind(self.graph, node, level)
            own = kind in (_AVERAGE, _RESHAPE)  # the shapes of what they read and write say all
            parts = [kind, str(len(node.output)), *(() if own else self._given(node, level))]
            self._nodes[key] = "|".join(parts)
        return self._nodes[key]

    def weights(self, node: onnx.NodeProto) -> str:
        """Return operator and values of its large constants; empty if it has none."""
        large = [
            self._constant(t, "weights")
            for t in node.input
            if self._is_constant(t) and math.prod(int(n) for n in self.graph.shape(t) or ()) >= _ENOUGH
        ]
        return "|".join((operator(node), *large)) if large else ""

    def data(self, node: onnx.NodeProto) -> tuple[tuple[int, str], ...]:
        """Return (index, tensor) of the inputs that are no constants."""
        return tuple((i, t) for i, t in enumerate(node.input) if t and not self._is_constant(t))

    def before(self, level: Level, leaves: Mapping[str, str]) -> dict[str, str]:
        """Return tensor → hash of all that it is computed from, back to `leaves` and the inputs."""
        found = {name: _input(self.graph, name) for name in self.graph.inputs} | dict(leaves)
        for node in self.graph.nodes:
            inputs = [found.get(t, "") for _, t in self.data(node)]
            inputs = sorted(inputs) if operator(node) in COMMUTATIVE else inputs
            for index, name in enumerate(node.output):
                if name and name not in leaves:
                    found[name] = digest((self.of(node, level), str(index), *inputs))
        return found

    def behind(self, level: Level, leaves: Mapping[str, str]) -> dict[str, str]:
        """Return tensor → hash of all that is computed from it, on to `leaves` and the outputs."""
        found = dict(leaves)
        for name in reversed(self.graph.tensors()):
            if name in leaves:
                continue
            uses = []
            for use in self.graph.consumers(name):
                if use.input_index == CAPTURED:
                    uses.append(digest((operator(use.node), "captured")))
                    continue
                index = "" if operator(use.node) in COMMUTATIVE else str(use.input_index)
                results = [found.get(t, "") for t in use.node.output]
                uses.append(digest((self.of(use.node, level), index, *results)))
            found[name] = digest((str(self.graph.is_output(name)), *sorted(uses)))
        return found

    def _is_constant(self, tensor: str) -> bool:
        return self.graph.is_constant(tensor)

    def _given(self, node: onnx.NodeProto, level: Level) -> tuple[str, ...]:
        constants = (f"{i}:{self._constant(t, level)}" for i, t in enumerate(node.input) if self._is_constant(t))
        return (*constants, *_attributes(node))

    def _constant(self, tensor: str, level: Level) -> str:
        key = tensor, level
        if key not in self._constants:
            shape = "x".join(map(str, self.graph.shape(tensor) or ()))
            words = f"{self.graph.element_type(tensor)}[{shape}]"
            value = self.graph.constant(tensor) if level == "weights" else None
            if value is not None:
                words += hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:32]
            self._constants[key] = words
        return self._constants[key]


def digest(parts: Iterable[str]) -> str:
    """Return a hash of texts, none of which can pass for another split."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        state.update(len(part).to_bytes(4, "little"))
        state.update(part.encode("utf-8", "surrogatepass"))
    return state.hexdigest()


def _input(graph: Graph, name: str) -> str:
    shape = graph.shape(name)
    return digest(("input", str(graph.element_type(name)), "?" if shape is None else str(len(shape))))


def _kind(graph: Graph, node: onnx.NodeProto, level: Level) -> str:
    """Return the operator; by shapes, what exporters write in several ways has one name."""
    if level == "shapes" and averages(graph, node) and operator(node) != "AveragePool":
        return _AVERAGE
    if level == "shapes" and operator(node) in _RESHAPES:
        return _RESHAPE
    return operator(node)


def _attributes(node: onnx.NodeProto) -> list[str]:
    found = []
    for item in node.attribute:
        if item.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
            continue
        value = onnx.helper.get_attribute_value(item)
        if _is_default(node, item, value):
            continue
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else _text(value)
        found.append(f"{item.name}={text}")
    held = sum(len(body.node) for body in bodies(node))
    return sorted(found) + ([f"bodies of {held} nodes"] if held else [])


def _is_default(node: onnx.NodeProto, item: onnx.AttributeProto, value: object) -> bool:
    if item.name == "kernel_shape" and operator(node).startswith("Conv"):
        return True  # the weight's shape says it
    neutral = _NEUTRAL.get(item.name)
    if neutral is not None and isinstance(value, list | tuple) and all(v == neutral for v in value):
        return True
    if item.name == "axis" and operator(node) in ("Softmax", "LogSoftmax"):
        return False
    try:
        declared = onnx.defs.get_schema(node.op_type, node.domain).attributes.get(item.name)
    except onnx.defs.SchemaError:
        return False
    if declared is None or declared.default_value.type == onnx.AttributeProto.UNDEFINED:
        return False
    return bool(onnx.helper.get_attribute_value(declared.default_value) == value)


def _text(value: object) -> str:
    if isinstance(value, onnx.TensorProto):
        return hashlib.sha256(value.SerializeToString(deterministic=True)).hexdigest()[:32]
    return str(list(value)) if isinstance(value, list | tuple) else str(value)
