"""Dynamic quantization by ONNX Runtime: 8-bit weights, and activation ranges taken from each batch while it runs.

Relied on: `onnxruntime.quantization.quantize_dynamic` keeps the names of inputs, outputs and of what its integer
operators write; its operators (ConvInteger, MatMulInteger) run in ONNX Runtime alone. It gives a MatMul's weight a scale a
column, but a convolution's one for all of it, so that convolutional networks lose more than by static quantization.
Weights are UINT8 with a zero point: ONNX Runtime 1.23 has no ConvInteger for INT8 weights on the CPU.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import onnx

from quantlab.engines.ort_session import first_line
from quantlab.errors import InputError
from quantlab.graph.model import Model, load_model, write_model
from quantlab.graph.normalise import normalise
from quantlab.graph.origin import note_origin
from quantlab.graph.patterns import WEIGHTED, weight_index
from quantlab.graph.stored_tensors import PROTOBUF_LIMIT, stored_bytes
from quantlab.graph.view import Graph, operator

_INTEGER = ("ConvInteger", "MatMulInteger", "DynamicQuantizeLSTM", "QAttention", "QEmbedLayerNormalization")
_NOTES = frozenset({"onnx.infer", "onnx.quant.pre_process"})  # of the quantizer to itself


@dataclass(frozen=True, slots=True)
class DynamicModel:
    """A model that quantizes its activations at run time.

    Attributes
    ----------
    model
        For ONNX Runtime alone; inputs and outputs keep their names.
    quantized
        Weighted nodes of the float model that work on integers, in graph order.
    floats
        Weighted node → why it stays float, in graph order.
    """

    model: Model
    quantized: tuple[str, ...]
    floats: Mapping[str, str]


def quantize_dynamic(model: Model) -> DynamicModel:
    """Return what ONNX Runtime's dynamic quantization makes of a float model, with ranges of 256 steps about any zero point.

    Raises
    ------
    InputError
        Q/DQ already in the model, nothing that ONNX Runtime could quantize, or a model that it cannot read.
    """
    normalised = normalise(model).model
    graph = Graph(normalised.proto)
    for node in graph.nodes:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}:
            raise InputError(f"The model already has Q/DQ (node '{node.name}'): start from the float model.")
    proto, ran = _quantized(normalised.proto)
    if not any(node.op_type in _INTEGER for node in proto.graph.node):
        raise InputError(f"ONNX Runtime's dynamic quantization finds no weight to quantize in {model.name}.")
    kept = [entry for entry in proto.metadata_props if entry.key not in _NOTES]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    note_origin(proto, model, {"target": "ort", "mode": "dynamic"}, ran)
    quantized, floats = _fate(graph, proto)
    return DynamicModel(load_model(proto), quantized, MappingProxyType(floats))


def _quantized(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    large = sum(stored_bytes(t) for t in proto.graph.initializer if t.data_type != onnx.TensorProto.STRING)
    with TemporaryDirectory(prefix="quantlab-") as folder, _quiet(Path(onnxruntime.__file__).parent):
        given, made = Path(folder) / "float.onnx", Path(folder) / "dynamic.onnx"
        write_model(proto, given)
        try:
            quantize_dynamic(
                given,
                made,
                per_channel=True,
                weight_type=QuantType.QUInt8,
                extra_options={"WeightSymmetric": False},
                use_external_data_format=large > PROTOBUF_LIMIT // 2,
            )
        except Exception as error:  # its errors share no base class of their own
            raise InputError(f"ONNX Runtime cannot quantize the model dynamically: {first_line(error)}") from error
        return load_model(made).proto, f"onnxruntime {onnxruntime.__version__}"


def _fate(graph: Graph, proto: onnx.ModelProto) -> tuple[tuple[str, ...], dict[str, str]]:
    producers = {name: node for node in proto.graph.node for name in node.output}
    quantized, floats = [], {}
    for node in graph.nodes:
        if operator(node) not in WEIGHTED:
            continue
        if _from_integers(node.output[0], producers):
            quantized.append(node.name)
        elif weight_index(graph, node) is None:
            floats[node.name] = "both its inputs are computed"
        else:
            floats[node.name] = f"ONNX Runtime's dynamic quantization leaves this {operator(node)} in float"
    return tuple(quantized), floats


def _from_integers(tensor: str, producers: Mapping[str, onnx.NodeProto]) -> bool:
    """Tell whether the nearest product above a tensor is one of integers; its scales come from a quantizer, which ends a path."""
    waiting = [tensor]
    while waiting:
        node = producers.get(waiting.pop(0))
        if node is None or node.op_type == "DynamicQuantizeLinear":
            continue
        if node.op_type in _INTEGER or operator(node) in WEIGHTED:
            return node.op_type in _INTEGER
        waiting += node.input
    return False


@contextmanager
def _quiet(folder: Path) -> Iterator[None]:
    """Drop what code below `folder` logs through the root logger, as ONNX Runtime's quantizer does."""

    def elsewhere(record: logging.LogRecord) -> bool:
        return folder not in Path(record.pathname).parents

    root = logging.getLogger()
    root.addFilter(elsewhere)
    try:
        yield
    finally:
        root.removeFilter(elsewhere)
