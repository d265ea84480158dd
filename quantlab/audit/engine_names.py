"""The user's name of every tensor of an engine: copies, reshapes and Q/DQ give the same values other names."""

from collections.abc import Collection, Sequence

from quantlab.audit.inspector import Inspection
from quantlab.audit.layer_names import COPY_OF
from quantlab.audit.layers import LayerRow
from quantlab.audit.network import Network

# What quantlab and ONNX Runtime append to a tensor's name where they insert Q/DQ.
_SUFFIXES = (
    "_QuantizeLinear_Output", "_QuantizeLinear_Input", "_DequantizeLinear_Output", "_quantized", "_dequantized",
    "_float",
)  # fmt: skip


def users_names(
    inspection: Inspection, rows: Sequence[LayerRow], network: Network, known: Collection[str]
) -> dict[str, str]:
    """Return engine name → the user's, for every tensor that a layer reads or writes.

    Parameters
    ----------
    known
        Tensors of the model and of the scale table; without any, suffixes of Q/DQ are cut off all names.
    """
    layers, bound = inspection.layers, frozenset(inspection.bindings)
    tensors = {tensor.name for layer in layers for tensor in (*layer.inputs, *layer.outputs)}
    names = {tensor: _own(tensor, network, frozenset(known)) for tensor in tensors}
    pairs = [
        (layer.inputs[0].name, layer.outputs[0].name)
        for layer, row in zip(layers, rows, strict=True)
        if row.role in ("copy", "qdq") and len(layer.inputs) == 1 and len(layer.outputs) == 1
    ]
    for source, copy in pairs:  # without a model, an inner copy has its source's name and an output its own
        names[copy] = names[copy] if names[copy] and (known or copy in bound) else names[source]
    for source, copy in reversed(pairs):
        better = not known and copy in bound and source not in bound
        names[source] = names[copy] if better else names[source] or names[copy]
    return {tensor: name or tensor for tensor, name in names.items()}


def _own(tensor: str, network: Network, known: frozenset[str]) -> str | None:
    """Return the user's name as far as the engine's alone tells it."""
    if tensor in network.forms or tensor in known:
        return network.forms.get(tensor, tensor)
    for suffix in _SUFFIXES:
        name = tensor.removesuffix(suffix)
        if name != tensor and (name in known or not known):
            return name
    return None if known or COPY_OF.fullmatch(tensor) else tensor
