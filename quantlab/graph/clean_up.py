"""Passes that remove what computes nothing: Identity, Dropout, Constant nodes, copies, dead nodes."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import onnx

from quantlab.graph.draft import Draft
from quantlab.graph.stored_tensors import canonical_bytes
from quantlab.graph.view import captured, operator


def constants_from_nodes(draft: Draft) -> None:
    """Turn Constant nodes into initializers of the same name; those that are graph outputs stay."""
    kept = []
    for node in draft.nodes:
        tensor = _constant_value(node) if node.output[0] not in draft.outputs else None
        if tensor is None:
            kept.append(node)
            continue
        draft.constants[node.output[0]] = tensor
        draft.made.add(node.output[0])
    draft.nodes = kept


def remove_identities(draft: Draft) -> None:
    """Remove Identity, and Dropout as inference runs it; readers get the input instead.

    A tensor that a body reads keeps its node: bodies are left as they are.
    """
    read, kept = draft.uses(), []
    fixed = draft.captured() | draft.outputs
    for node in draft.nodes:
        for index, name in enumerate(node.input):
            node.input[index] = draft.same.get(name, name)
        if _passes_through(node, draft, read) and node.output[0] not in fixed:
            draft.same[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    draft.nodes = kept
    _remove_identities_before_outputs(draft)


def remove_dead(draft: Draft) -> None:
    """Remove nodes that no output depends on, and constants that nothing reads."""
    live = set(draft.outputs)
    kept = []
    for node in reversed(draft.nodes):
        if live.intersection(node.output):
            kept.append(node)
            live.update(node.input)
            live.update(captured(node))
    dead = len(draft.nodes) - len(kept)
    draft.nodes = kept[::-1]
    draft.constants = {name: t for name, t in draft.constants.items() if name in live}
    if dead:
        draft.notes.append(f"{dead} nodes were removed that no output depends on.")


def merge_copies(draft: Draft) -> None:
    """Let constants from nodes that hold the same value be one; the user's own initializers keep their names."""
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    fixed = draft.captured() | draft.outputs
    replaced: dict[str, str] = {}
    for name in [n for n in draft.constants if n in draft.made and n not in fixed]:
        tensor = draft.constants[name]
        content = hashlib.sha256(canonical_bytes(tensor)).digest()
        kept = first.setdefault((tensor.data_type, tuple(tensor.dims), content), name)
        if kept != name:
            replaced[name] = kept
            del draft.constants[name]
    for node in draft.nodes:
        for index, name in enumerate(node.input):
            node.input[index] = replaced.get(name, name)
    draft.same.update(replaced)


def _constant_value(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """Return the tensor of a Constant node, None for other nodes and sparse values."""
    if operator(node) != "Constant" or len(node.attribute) != 1:
        return None
    name, value = node.attribute[0].name, onnx.helper.get_attribute_value(node.attribute[0])
    if name == "value":
        tensor = onnx.TensorProto()
        tensor.CopyFrom(value)
        return tensor
    if name in ("value_float", "value_floats"):
        return onnx.numpy_helper.from_array(np.asarray(value, dtype=np.float32))
    if name in ("value_int", "value_ints"):
        return onnx.numpy_helper.from_array(np.asarray(value, dtype=np.int64))
    return None


def _passes_through(node: onnx.NodeProto, draft: Draft, read: Counter[str]) -> bool:
    """Tell whether the first output of a node equals its first input, and it has no other output in use."""
    if any(read[name] for name in node.output[1:]):
        return False
    if operator(node) == "Identity":
        return True
    if operator(node) != "Dropout":
        return False
    mode = node.input[2] if len(node.input) > 2 else ""
    return not mode or _is_false(draft.constants.get(mode))


def _is_false(tensor: onnx.TensorProto | None) -> bool:
    return tensor is not None and not onnx.numpy_helper.to_array(tensor).any()


def _remove_identities_before_outputs(draft: Draft) -> None:
    """Let the producer of an output's Identity write the output itself, if nothing else reads the old name.

    With other readers there are two tensors that the user knows by name, and the Identity stays.
    """
    read, captured_names = draft.uses(), draft.captured()
    producers = {name: node for node in draft.nodes for name in node.output if name}
    renamed: dict[str, str] = {}
    kept = []
    for node in draft.nodes:
        old, new = (node.input[0], node.output[0]) if _passes_through(node, draft, read) else ("", "")
        movable = old in producers and read[old] == 1
        if movable and new in draft.outputs and new not in captured_names:
            renamed[old] = new
        else:
            kept.append(node)
    draft.nodes = kept
    for node in kept:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = renamed.get(name, name)
    draft.renamed.update((new, old) for old, new in renamed.items())
