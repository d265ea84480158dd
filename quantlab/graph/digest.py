"""The digest of a model: what it computes, not how the file stores it."""

from __future__ import annotations

import hashlib

import onnx

from quantlab.graph.stored_tensors import Message, canonical_bytes, rebuilt

_NOT_COMPUTED = frozenset(
    {
        "onnx.ModelProto.ir_version",
        "onnx.ModelProto.producer_name",
        "onnx.ModelProto.producer_version",
        "onnx.ModelProto.domain",
        "onnx.ModelProto.model_version",
        "onnx.ModelProto.doc_string",
        "onnx.ModelProto.metadata_props",
        "onnx.ModelProto.training_info",
        "onnx.GraphProto.name",
        "onnx.GraphProto.doc_string",
        "onnx.GraphProto.metadata_props",
        "onnx.GraphProto.value_info",
        "onnx.GraphProto.quantization_annotation",
        "onnx.NodeProto.doc_string",
        "onnx.NodeProto.metadata_props",
        "onnx.AttributeProto.doc_string",
        "onnx.ValueInfoProto.doc_string",
        "onnx.ValueInfoProto.metadata_props",
        "onnx.FunctionProto.doc_string",
        "onnx.FunctionProto.metadata_props",
        "onnx.FunctionProto.value_info",
    }
)


def digest(proto: onnx.ModelProto) -> str:
    """Return "sha256:…" of the graph, its operator sets and its weights; external data must be loaded.

    The same for weights inside or outside the file, raw or typed, and initializers in any order; blind to
    documentation, metadata, producer and intermediate shapes. One tensor at a time is read, so models above
    2 GiB work.

    Raises
    ------
    InputError
        A tensor does not hold as many bytes as its shape asks for.
    """
    graph = rebuilt(proto.graph, _fingerprint, but=_NOT_COMPUTED | {"onnx.GraphProto.initializer"})
    weights = sorted(_serialized(_fingerprint(t)) for t in proto.graph.initializer)
    rest = rebuilt(proto, _fingerprint, but=_NOT_COMPUTED | {"onnx.ModelProto.graph"})
    rest.opset_import.sort(key=lambda o: (o.domain, o.version))
    total = hashlib.sha256()
    for part in (_serialized(rest), _serialized(graph), *weights):
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return f"sha256:{total.hexdigest()}"


def _serialized(message: Message) -> bytes:
    content: bytes = message.SerializeToString(deterministic=True)
    return content


def _fingerprint(tensor: onnx.TensorProto) -> onnx.TensorProto:
    content = hashlib.sha256(canonical_bytes(tensor)).digest()
    return onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, raw_data=content)
