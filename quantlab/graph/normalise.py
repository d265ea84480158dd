"""Bring a model to the form the other parts expect, and keep track of what became of the user's names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import onnx

from quantlab.graph.clean_up import constants_from_nodes, merge_copies, remove_dead, remove_identities
from quantlab.graph.digest import digest
from quantlab.graph.draft import Draft, some
from quantlab.graph.fold_batchnorm import fold_batchnorm
from quantlab.graph.fold_constants import fold_constants
from quantlab.graph.model import Model
from quantlab.graph.names import name_nodes
from quantlab.graph.opset import inlined, raised
from quantlab.graph.stored_tensors import is_small, light_copy
from quantlab.graph.view import Graph, bodies

_FIRST_IR_WITHOUT_INPUTS = 4  # since then initializers need not be graph inputs


@dataclass(frozen=True, slots=True)
class Normalised:
    """A model with named nodes and no Constant, foldable BatchNormalization or needless Identity; where names went.

    Attributes
    ----------
    model
        The normalised model; `path` is still the user's.
    names
        New tensor name → the user's, where they differ.
    aliases
        The user's name of a tensor that vanished → a tensor that holds the same values (Identity, Dropout).
    gone
        The user's names of tensors that exist no more and equal no other (inputs of folded normalisations).
    notes
        Sentences for the user on what was changed and what stays in float.
    """

    model: Model
    names: Mapping[str, str]
    notes: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    gone: tuple[str, ...] = ()

    @property
    def all_aliases(self) -> dict[str, str]:
        """Every user's name of a tensor that is gone → the tensor of the normalised model that holds its values."""
        return {old: new for new, old in self.names.items()} | dict(self.aliases)


def normalise(model: Model) -> Normalised:
    """Return an equivalent model that is simpler to quantize; the one given is not changed.

    Nodes get names, Constant nodes become initializers, what does not depend on the input is evaluated, Identity
    and Dropout are removed (but where an output equals a tensor that others read), BatchNormalization is folded
    into the weights before it, dead parts are removed, local functions inlined, and the opset is raised to 13
    where it is below. Inputs and outputs keep their names.

    Raises
    ------
    InputError
        The opset is below 13 and ONNX cannot convert the model.
    """
    light = light_copy(model.proto)
    notes = _name(light)
    light, inlining = inlined(light)
    light, raising = raised(light)
    weights = {t.name: t for t in model.proto.graph.initializer if not is_small(t)}
    draft = Draft.of(light, weights)
    draft.notes.extend((*notes, *inlining, *raising, *_default_inputs(model.proto)))
    for run in (constants_from_nodes, remove_identities, fold_constants, fold_batchnorm, remove_dead, merge_copies):
        run(draft)
    name_nodes(draft.nodes)
    _declare_shapes_of_outputs(draft)
    draft.notes.extend(_control_flow(draft.nodes))
    draft.header.ir_version = max(draft.header.ir_version, _FIRST_IR_WITHOUT_INPUTS)
    proto = draft.finished()
    alive = _tensors(draft)
    aliases = {old: new for old, new in _followed(draft) if new in alive}
    return Normalised(
        model=Model(proto, model.path, digest(proto)),
        names=MappingProxyType(dict(draft.renamed)),
        notes=tuple(draft.notes),
        aliases=MappingProxyType(aliases),
        gone=(*draft.gone, *(old for old, new in _followed(draft) if new in draft.gone)),
    )


def _name(light: onnx.ModelProto) -> tuple[str, ...]:
    unnamed, repeated = name_nodes(light.graph.node)
    notes = (
        (unnamed, f"{unnamed} nodes had no name and were given one."),
        (repeated, f"{repeated} nodes had the name of another and were given a number."),
    )
    return tuple(note for count, note in notes if count)


def _default_inputs(proto: onnx.ModelProto) -> Iterable[str]:
    if proto.ir_version < _FIRST_IR_WITHOUT_INPUTS:
        return
    stored = {t.name for t in proto.graph.initializer}
    defaults = [i.name for i in proto.graph.input if i.name in stored]
    if defaults:
        yield f"{len(defaults)} inputs have a default value and are constants now: {some(defaults)}."


def _control_flow(nodes: Iterable[onnx.NodeProto]) -> Iterable[str]:
    found = Counter(node.op_type for node in nodes if next(bodies(node), None) is not None)
    if found:
        listed = ", ".join(f"{count} {kind}" for kind, count in sorted(found.items()))
        yield f"The bodies of control flow stay in float: {listed}."


def _declare_shapes_of_outputs(draft: Draft) -> None:
    """Give outputs without a shape the one that follows from the inputs: the checker asks for it."""
    bare = [o for o in draft.header.graph.output if not o.type.tensor_type.HasField("shape")]
    if not bare:
        return
    graph = Graph(draft.light())
    for output in bare:
        shape, dtype = graph.shape(output.name), graph.dtype(output.name)
        if shape is not None and dtype is not None:
            kind = onnx.helper.np_dtype_to_tensor_dtype(dtype)
            sizes = [None if size == "?" else size for size in shape]
            output.CopyFrom(onnx.helper.make_tensor_value_info(output.name, kind, sizes))


def _tensors(draft: Draft) -> frozenset[str]:
    written = (name for node in draft.nodes for name in node.output)
    return frozenset((*(i.name for i in draft.header.graph.input), *draft.constants, *written))


def _followed(draft: Draft) -> Iterator[tuple[str, str]]:
    """Yield each name that vanished with an equal tensor's, through later renamings and merges."""
    new_names = {old: new for new, old in draft.renamed.items() if new in draft.outputs}
    for old in draft.same:
        name = old
        while name in draft.same:
            name = draft.same[name]
        yield old, new_names.get(name, name)
