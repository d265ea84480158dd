"""Two ONNX models of one network, node by node: which names in one stand for which in the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import onnx

from quantlab.errors import InputError
from quantlab.graph.model import Model
from quantlab.graph.patterns import WEIGHTED
from quantlab.graph.view import Graph, operator


@dataclass(frozen=True, slots=True)
class Alignment:
    """Names of a reference → those of another model of the same network.

    Attributes
    ----------
    nodes, tensors
        What both have.
    operands
        (node, input index) of the reference → the other's initializer there: exporters make one initializer of
        parameters that happen to be equal, so a constant of the reference may stand for several.
    added, missing
        Likewise, last operands that only the other has, and those that only the reference has, with its own name: a bias.
    """

    nodes: Mapping[str, str]
    tensors: Mapping[str, str]
    operands: Mapping[tuple[str, int], str]
    added: Mapping[tuple[str, int], str]
    missing: Mapping[tuple[str, int], str]


def align(reference: Model, other: Model) -> Alignment:
    """Follow two normalised models from their outputs to their inputs, as long as the operators are the same.

    Compared are operators and the tensors they read; values of weights and the arithmetic of shapes are not, which
    exporters write in different ways.

    Raises
    ------
    InputError
        When the networks differ: another operator, or one input used in another way.
    """
    return _Walk(Graph(reference.proto), Graph(other.proto)).done()


@dataclass(slots=True)
class _Walk:
    reference: Graph
    other: Graph
    nodes: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, str] = field(default_factory=dict)
    operands: dict[tuple[str, int], str] = field(default_factory=dict)
    added: dict[tuple[str, int], str] = field(default_factory=dict)
    missing: dict[tuple[str, int], str] = field(default_factory=dict)

    def done(self) -> Alignment:
        ends = self._together(self.reference.outputs, self.other.outputs, "outputs")
        waiting = [*self._together(self.reference.inputs, self.other.inputs, "inputs"), *ends]
        while waiting:
            ours, theirs = waiting.pop()
            if ours in self.tensors:
                if self.tensors[ours] != theirs:
                    raise InputError(f"The models differ: «{ours}» stands for «{theirs}» and «{self.tensors[ours]}».")
                continue
            self.tensors[ours] = theirs
            waiting += self._step(ours, theirs)
        return Alignment(self.nodes, self.tensors, self.operands, self.added, self.missing)

    def _step(self, ours: str, theirs: str) -> Iterator[tuple[str, str]]:
        one, two = self.reference.producer(ours), self.other.producer(theirs)
        if one is None and two is None:
            return
        if one is None or two is None or operator(one) != operator(two):
            raise InputError(
                f"The models differ at «{ours}»: it comes from {_kind(one)} in the one, from {_kind(two)} in the other."
            )
        if list(one.output).index(ours) != list(two.output).index(theirs):
            raise InputError(f"The models differ at «{ours}»: it is another output of {_kind(one)} in the other.")
        self.nodes[one.name] = two.name
        yield from self._operands(one, two)

    def _operands(self, one: onnx.NodeProto, two: onnx.NodeProto) -> Iterator[tuple[str, str]]:
        for index in range(len(one.input), len(two.input)):
            if self.other.is_constant(two.input[index]) and operator(one) in WEIGHTED:
                self.added[one.name, index] = two.input[index]
        for index in range(len(two.input), len(one.input)):
            if self.reference.is_constant(one.input[index]) and operator(one) in WEIGHTED:
                self.missing[one.name, index] = one.input[index]
        for index, (ours, theirs) in enumerate(zip(one.input, two.input, strict=False)):
            if not ours or not theirs:
                continue
            constant = self.reference.is_constant(ours), self.other.is_constant(theirs)
            if all(constant):
                self._pair((one.name, index), ours, theirs)
            elif not any(constant) and self._is_float(ours):
                yield ours, theirs
            elif any(constant) and self._is_float(ours) and not self._is_number(ours, theirs):
                raise InputError(
                    f"The models differ at node «{one.name}» ({one.op_type}): «{ours}» is constant in one of them only."
                )

    def _pair(self, place: tuple[str, int], ours: str, theirs: str) -> None:
        if self.reference.shape(ours) == self.other.shape(theirs) and self._is_float(ours):
            self.operands[place] = theirs

    def _is_float(self, tensor: str) -> bool:
        dtype = self.reference.dtype(tensor)
        return dtype is None or dtype.kind == "f"

    def _is_number(self, ours: str, theirs: str) -> bool:
        """Tell whether an operand is one number, which follows from shapes in the model where it is no constant."""
        return any(shape is not None and math.prod(shape) == 1 for shape in self._sizes(ours, theirs))

    def _sizes(self, ours: str, theirs: str) -> Iterator[tuple[int, ...] | None]:
        for shape in (self.reference.shape(ours), self.other.shape(theirs)):
            known = None if shape is None else tuple(size for size in shape if isinstance(size, int))
            yield None if shape is None or known is None or len(known) < len(shape) else known

    @staticmethod
    def _together(one: tuple[str, ...], two: tuple[str, ...], what: str) -> list[tuple[str, str]]:
        if len(one) != len(two):
            raise InputError(f"The models differ: they have {len(one)} and {len(two)} {what}.")
        return list(zip(one, two, strict=True))


def _kind(node: onnx.NodeProto | None) -> str:
    return "outside the graph" if node is None else f"a {operator(node)}"
