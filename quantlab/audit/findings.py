"""What in a built engine costs speed or accuracy, as sentences with what to do."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from quantlab.audit.inspector import UNKNOWN, EngineLayer, Inspection
from quantlab.audit.layers import LayerRow
from quantlab.audit.network import Network
from quantlab.audit.tensors import NOT_INT8, TensorRow
from quantlab.graph.finding import Finding, Severity
from quantlab.graph.patterns import WEIGHTED

_SUMS = frozenset({"Add", "Sum"})
_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
_BYTES = frozenset({"INT8", "UINT8"})


def layer_findings(inspection: Inspection, rows: Sequence[LayerRow], network: Network) -> Iterator[Finding]:
    """Find Q/DQ and copies in layers of their own, Adds outside their convolution's kernel, and types not told."""
    writers = {t.name: row for layer, row in zip(inspection.layers, rows, strict=True) for t in layer.outputs}
    reads = Counter(tensor.name for layer in inspection.layers for tensor in layer.inputs)
    once = {name: row for name, row in writers.items() if reads[name] == 1}
    ends = frozenset((*inspection.bindings, *network.inputs, *network.outputs))
    for layer, row in zip(inspection.layers, rows, strict=True):
        if row.role == "qdq":
            yield _step(layer, row, ends)
        elif row.role == "copy" and row.kind.lower() == "reformat":
            yield _copy(layer, row, ends)
        elif row.role == "compute" and row.operators and set(row.operators) <= _SUMS:
            yield from _sum(layer, row, once)
    yield from _float_kernels(rows, network)
    untold = [row.name for row in rows if row.role == "compute" and row.precision == UNKNOWN]
    if untold:
        message = f"The inspector does not tell the types of {len(untold)} layers."
        fix = "Build the plan for one fixed shape (--shapes INPUT:SHAPE): of free ones TensorRT 8.6 tells no types."
        yield Finding("types-unknown", "warning", untold[0], "", message, fix)


def tensor_findings(rows: Sequence[TensorRow], layers: Sequence[LayerRow]) -> Iterator[Finding]:
    """Find tensors that are float though they should be INT8; a warning where an operator with weights suffers."""
    heavy = {row.name for row in layers if set(row.operators) & WEIGHTED or row.weights is not None}
    fixes = {
        "no-scale": "Calibrate it, or add Q/DQ; or leave it, if it is meant to be float.",
        "no-kernel": "Leave what it reads and writes in float on purpose, so that nothing is converted for it.",
        "unfused": "Place the Q where a kernel ends: `quantlab lint` names the rule.",
        "reformat": "Give the tensor's writer INT8 inputs too, or leave its reader in float.",
    }
    scaled = sum(row.explanation == NOT_INT8 for row in rows)
    if scaled:
        message = f"{scaled} tensors have scales, but no layer of the engine runs in INT8."
        yield Finding("not-int8", "warning", "", "", message, "Build it with INT8 allowed: --precision int8.")
    for row in rows:
        if row.state in ("float", "converted") and row.reason in fixes:
            severity: Severity = "warning" if row.layer in heavy else "note"
            yield Finding(row.reason, severity, row.layer, row.tensor, row.explanation, fixes[row.reason])


def profile_findings(rows: Sequence[LayerRow], profile: Mapping[str, float]) -> Iterator[Finding]:
    """Find a profile that is another engine's, in whole or in part."""
    unknown = [name for name in profile if name not in {row.name for row in rows}]
    if unknown:
        message = f"The profile times {len(unknown)} layers that are not among these, such as «{unknown[0]}»."
        yield Finding(
            "profile",
            "warning",
            unknown[0],
            "",
            message,
            "Profile this very engine, with a batch of this optimization profile.",
        )


def _float_kernels(rows: Sequence[LayerRow], network: Network) -> Iterator[Finding]:
    """Find operators with weights that run in float in an engine that is meant to be INT8."""
    if not network.quantized and not any(row.precision in _BYTES for row in rows if row.role == "compute"):
        return
    total = sum(row.macs or 0 for row in rows)
    for row in rows:
        if row.role == "compute" and row.precision not in (*_BYTES, UNKNOWN) and set(row.operators) & WEIGHTED:
            part = f", {100 * (row.macs or 0) / total:.3g} % of all multiply-accumulates" if total else ""
            message = f"{' + '.join(row.operators)} runs in {row.precision}{part}."
            fix = "Give all that it reads a scale or Q/DQ, if INT8 is wanted."
            yield Finding("float-kernel", "note", row.name, "", message, fix)


def _step(layer: EngineLayer, row: LayerRow, ends: frozenset[str]) -> Finding:
    step = "DQ" if row.precision in _BYTES and row.output_precision not in _BYTES else "Q"
    what = f"A {step} stands as a layer of its own ({row.precision} to {row.output_precision})"
    tensor = layer.inputs[0].name if layer.inputs else ""
    if step == "Q" and any(t.name in ends for t in layer.inputs):
        fix = "Nothing, as long as the input arrives in float."
        return Finding("input-quantized", "note", row.name, tensor, f"{what}, at the network's input.", fix)
    if step == "DQ" and any(t.name in ends for t in layer.outputs):
        fix = "Leave the output without Q/DQ: the last kernel then writes float itself, and its values are not rounded."
        return Finding("output-quantized", "warning", row.name, tensor, f"{what}, at the network's output.", fix)
    fix = "Move it to where a kernel ends: `quantlab lint` on the Q/DQ model names the rule."
    if step == "DQ":  # the usual reason, and moving it would not help
        fix = (
            "Give what its reader writes Q/DQ too (`--head int8` for the last layers), or accept that it runs in float."
        )
    return Finding("unfused", "warning", row.name, tensor, f"{what}: no kernel took it in.", fix)


def _copy(layer: EngineLayer, row: LayerRow, ends: frozenset[str]) -> Finding:
    tensor = layer.inputs[0].name if layer.inputs else ""
    end = any(t.name in ends for t in (*layer.inputs, *layer.outputs))
    if row.precision != row.output_precision:
        message = f"A copy turns {row.precision} into {row.output_precision}."
        fix = "Nothing, at the network's ends." if end else "Give the layers on both sides the same precision."
        return Finding("reformat", "note" if end else "warning", row.name, tensor, message, fix)
    fix = "Nothing, unless it takes much of the time: the layers on both sides want different layouts."
    return Finding("reformat", "note", row.name, tensor, f"A copy changes the layout of {row.precision} values.", fix)


def _sum(layer: EngineLayer, row: LayerRow, writers: Mapping[str, LayerRow]) -> Iterator[Finding]:
    """Find an INT8 Add that the kernel of the convolution before it, which nobody else reads, could have done."""
    for tensor in layer.inputs:
        before = writers.get(tensor.name)
        if before is not None and tensor.precision in _BYTES and set(before.operators) & _CONVOLUTIONS:
            message = f"The Add is a layer of its own: it is not in the kernel of «{before.name}», which it follows."
            fix = (
                "Quantize only the other, residual input of the Add: Q/DQ between convolution and Add keeps them apart."
            )
            yield Finding("unfused-add", "warning", row.name, tensor.name, message, fix)
            return
