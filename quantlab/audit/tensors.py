"""What became of each tensor that was to be quantized: INT8, float and why, or swallowed by a kernel."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from quantlab.audit.engine_names import users_names
from quantlab.audit.inspector import EngineLayer, Inspection
from quantlab.audit.layers import LayerRow
from quantlab.audit.network import Network
from quantlab.calibration.scale_table import ScaleTable

State = Literal["int8", "converted", "float", "fused", "absent"]
"""int8: kernels write and read it as INT8; converted: a kernel writes it in float, and a layer of its own makes INT8 of
it; float: nobody reads it as INT8; fused: it lives inside a kernel and is never stored; absent: not in the engine."""

NOT_INT8 = "No layer of the engine runs in INT8: it was not built to."
Reason = Literal["", "no-scale", "no-kernel", "unfused", "reformat", "output"]
"""Why it is not INT8, or not so everywhere: no scale or Q/DQ for it or for what its layer reads; no INT8 kernel, or a
slower one; a Q or DQ in a layer of its own; a copy between formats; an output of the network."""

_EIGHT_BITS = frozenset({"INT8", "UINT8"})
_NO_VALUES = frozenset({"INT16", "INT32", "INT64", "BOOL"})


@dataclass(frozen=True, slots=True)
class TensorRow:
    """One tensor.

    Attributes
    ----------
    tensor
        The user's name.
    state, reason
        See `State` and `Reason`.
    precision
        In which kernels write and read it, «INT8», «FP32, INT8»; empty where they do not.
    layer
        The layer that writes it, holds it or is the reason; empty where there is none.
    explanation
        The same as a sentence.
    """

    tensor: str
    state: State
    reason: Reason
    precision: str
    layer: str
    explanation: str


@dataclass(slots=True)
class _Seen:
    """Where kernels meet a tensor: precision → layers; and the layers that convert it."""

    written: dict[str, str] = field(default_factory=dict)
    read: dict[str, str] = field(default_factory=dict)
    converters: list[LayerRow] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Engine:
    """An engine's tensors under the user's names, and what the user gave for them."""

    network: Network
    scaled: frozenset[str]
    outputs: frozenset[str]
    seen: Mapping[str, _Seen]
    reads: Mapping[str, tuple[str, ...]]
    holders: Mapping[str, LayerRow]
    explicit: bool
    integers: frozenset[str]


def tensor_rows(
    inspection: Inspection, rows: Sequence[LayerRow], network: Network, table: ScaleTable | None
) -> tuple[TensorRow, ...]:
    """Return a row for each activation of the table, each with Q/DQ in the model, and each that the engine stores.

    «no-kernel» is what remains when all that the layer reads has a scale: TensorRT does not say why it chose.
    """
    scales = [row.tensor for row in table.rows if row.role != "weight"] if table is not None else []
    engine = _joined(inspection, rows, network, (*scales, *network.quantized))
    known = frozenset(network.activations or scales)
    stored = [t for t in engine.seen if not known or t in known]
    wanted = dict.fromkeys((*scales, *network.quantized, *stored))
    return tuple(_row(tensor, engine) for tensor in wanted)


def _joined(inspection: Inspection, rows: Sequence[LayerRow], network: Network, scaled: Collection[str]) -> _Engine:
    known = frozenset((*network.activations, *scaled))
    names = users_names(inspection, rows, network, known)
    seen: dict[str, _Seen] = {}
    reads: dict[str, tuple[str, ...]] = {}
    for layer, row in zip(inspection.layers, rows, strict=True):
        _note(layer, row, names, seen)
        if row.role == "compute":
            reads.setdefault(row.name, tuple(names[t.name] for t in layer.inputs if t.precision not in _NO_VALUES))
    written = {names[t.name] for layer in inspection.layers for t in layer.outputs}
    bound = {names.get(name, name) for name in inspection.bindings}
    outputs = frozenset(network.outputs or (bound & written))
    holders: dict[str, LayerRow] = {}
    for row in rows:
        for node in row.nodes if row.role == "compute" else ():
            holders.setdefault(node, row)
    explicit = bool(network.quantized) or any(row.role == "qdq" for row in rows)
    integers = frozenset(row.name for row in rows if row.role == "compute" and row.precision in _EIGHT_BITS)
    return _Engine(network, frozenset(scaled), outputs, seen, reads, holders, explicit, integers)


def _note(layer: EngineLayer, row: LayerRow, names: Mapping[str, str], seen: dict[str, _Seen]) -> None:
    if row.role == "other":
        return
    for tensors, writes in ((layer.inputs, False), (layer.outputs, True)):
        for tensor in tensors:
            if tensor.precision in _NO_VALUES:
                continue
            place = seen.setdefault(names[tensor.name], _Seen())
            if row.role == "compute":
                (place.written if writes else place.read).setdefault(tensor.precision, row.name)
            elif row.precision != row.output_precision and row not in place.converters:
                place.converters.append(row)


def _row(tensor: str, engine: _Engine) -> TensorRow:
    place = engine.seen.get(tensor)
    if place is None or not (place.written or place.read):
        return _not_stored(tensor, engine)
    precisions = ", ".join(dict.fromkeys((*place.written, *place.read)))
    eight_read, eight_written = _EIGHT_BITS & {*place.read}, _EIGHT_BITS & {*place.written}
    layer = next(iter((*place.written.values(), *place.read.values())))
    if eight_written or (eight_read and not place.written):
        reason, words = _converted(place, f"It is INT8 in «{layer}»")
        return TensorRow(tensor, "int8", reason, precisions, layer, words)
    if eight_read:
        reason, words = _converted(place, f"«{layer}» writes it in {'/'.join(place.written)}")
        return TensorRow(tensor, "converted", reason or "reformat", precisions, layer, words)
    reason, words = _why_float(tensor, layer, engine)
    return TensorRow(tensor, "float", reason, precisions, layer, words)


def _converted(place: _Seen, start: str) -> tuple[Reason, str]:
    if not place.converters:
        return "", f"{start}."
    converter = place.converters[0]
    step = converter.role == "qdq"
    what = "a Q or DQ that no kernel took in," if step else "a copy between formats,"
    words = f"{start}; {what} «{converter.name}», turns {converter.precision} into {converter.output_precision}."
    return "unfused" if step else "reformat", words


def _why_float(tensor: str, layer: str, engine: _Engine) -> tuple[Reason, str]:
    if tensor in engine.outputs:
        return "output", "It is an output of the network, which stays in the type that the network declares."
    if not engine.scaled:
        return "", "Nothing says that it should be INT8: there is neither a scale table nor Q/DQ."
    if tensor not in engine.scaled:
        return "no-scale", "It has neither a scale nor Q/DQ."
    if engine.explicit and tensor not in engine.network.quantized:
        return "no-scale", "It has no Q/DQ, from which this engine has its types: a scale of the table has no say."
    writes = engine.seen[tensor].written
    missing = [t for t in engine.reads.get(layer, ()) if t not in engine.scaled] if writes else []
    missing = [t for t in missing if not engine.network.operators or t in engine.network.activations]
    if missing:
        return "no-scale", f"«{layer}» cannot run INT8: what it reads, «{missing[0]}», has neither a scale nor Q/DQ."
    if not engine.integers:
        return "", NOT_INT8
    if layer in engine.integers and writes:
        return "output", f"«{layer}» runs in INT8 and writes it in float, as nothing that reads it is INT8."
    return "no-kernel", f"«{layer}» runs in float: TensorRT has no INT8 kernel for it, or found it slower."


def _not_stored(tensor: str, engine: _Engine) -> TensorRow:
    node = engine.network.writers.get(tensor, "")
    holder = engine.holders.get(node)
    if holder is not None:
        return TensorRow(tensor, "fused", "", "", holder.name, f"It never leaves the kernel of «{holder.name}».")
    if engine.network.operators and not node and tensor not in engine.network.inputs:
        return TensorRow(tensor, "absent", "", "", "", "The model has no such tensor.")
    words = "No layer of the engine reads or writes it: it was folded, removed, or lives inside a kernel."
    return TensorRow(tensor, "absent", "", "", "", words)
