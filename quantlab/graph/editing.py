"""A model opened for new constants and nodes; the model given stays as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx

from quantlab.graph.digest import digest
from quantlab.graph.draft import Draft
from quantlab.graph.model import Model
from quantlab.graph.stored_tensors import is_small, light_copy
from quantlab.numerics.arrays import AnyArray


@dataclass(slots=True)
class Editing:
    """Copies of a model's nodes, to be changed in place, and its constants, to be replaced.

    Attributes
    ----------
    draft
        Nodes and constants.
    writers
        First output of a node → the node: names of nodes may repeat, tensors cannot.
    read
        How often each tensor is read, as an output too.
    taken
        Every name of a tensor.
    """

    model: Model
    draft: Draft
    writers: dict[str, onnx.NodeProto]
    read: Counter[str]
    taken: set[str]

    @classmethod
    def of(cls, model: Model) -> Editing:
        """Open `model`."""
        proto = model.proto
        draft = Draft.of(light_copy(proto), {t.name: t for t in proto.graph.initializer if not is_small(t)})
        writers = {node.output[0]: node for node in draft.nodes if node.output}
        taken = {*draft.constants, *(i.name for i in proto.graph.input), *draft.captured()}
        taken.update(name for node in draft.nodes for name in node.output)
        return cls(model, draft, writers, draft.uses(), taken)

    def constant(self, name: str) -> AnyArray:
        """Return the present value of a constant."""
        return onnx.numpy_helper.to_array(self.draft.constants[name])

    def replace(self, name: str, array: AnyArray) -> None:
        """Give a constant a new value for all that read it; kept in C order."""
        self.draft.constants[name] = onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)

    def set_input(self, node: onnx.NodeProto, index: int, array: AnyArray, kind: str) -> str:
        """Give input `index` of `node` this value and return its name: a new one if others read the old constant.

        `kind` ends the name of a new constant, as "bias".
        """
        old = node.input[index] if index < len(node.input) else ""
        name = old
        if not old or old not in self.draft.constants or self.read[old] != 1:
            name = self.new_name(f"{node.output[0]}_{kind}")
            self.read[old] -= bool(old)
            self.read[name] = 1
            node.input.extend([""] * (index + 1 - len(node.input)))
            node.input[index] = name
        self.replace(name, array)
        return name

    def new_name(self, wanted: str) -> str:
        """Return `wanted`, with a number if a tensor of that name exists, and take it."""
        tries = (wanted, *(f"{wanted}_{i}" for i in range(1, len(self.taken) + 2)))
        name = next(name for name in tries if name not in self.taken)
        self.taken.add(name)
        return name

    def put(self, nodes: Iterable[onnx.NodeProto], *, before: onnx.NodeProto) -> None:
        """Insert new nodes before one that is there."""
        place = next(i for i, node in enumerate(self.draft.nodes) if node is before)
        self.draft.nodes[place:place] = nodes

    def finished(self) -> Model:
        """Return the changed model, of the same `path` and a digest of its own."""
        proto = self.draft.finished()
        return Model(proto, self.model.path, digest(proto))


def why_not_editable(array: AnyArray | None) -> str:
    """Return why a constant cannot be changed, as the end of a sentence on its owner; empty if it can.

    Only float32 of magnitudes up to 1e30 is changed: a scale must neither meet NaN nor overflow.
    """
    if array is None:
        return "is not constant"
    if array.dtype != np.float32:
        return f"is {array.dtype}, not float32"
    if array.size == 0:
        return "is empty"
    return "" if (np.abs(array) <= _LARGEST).all() else "holds NaN, infinity or magnitudes above 1e30"


_LARGEST = np.float32(1e30)
