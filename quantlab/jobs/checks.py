"""What has to fit before a result means anything: the right models in the right places, the scales of that model."""

from collections.abc import Iterable, Iterator

import onnx

from quantlab.builder import QuantizedModel
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.errors import InputError, StaleError, UsageError
from quantlab.graph.model import Model
from quantlab.graph.qdq_view import read_scales
from quantlab.graph.target import Target

_INTEGER = ("QLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")
_NEWEST = 11  # TensorRT's newest major version whose rules are known
_SHIFT = 128  # between int8 and uint8, as the Q/DQ writer shifts zero points


def check_target(text: str) -> None:
    """Refuse a target that is unknown, or a TensorRT whose rules nobody here knows.

    Raises
    ------
    UsageError
        As described.
    """
    version = Target.parse(text).tensorrt
    if version is not None and version[0] > _NEWEST:
        raise UsageError(f"Unknown target «{text}»: the rules are known up to tensorrt@{_NEWEST}.x.")


def check_float(model: Model) -> None:
    """Refuse a model that is quantized already.

    Raises
    ------
    InputError
        Naming it.
    """
    if _quantized(model.proto, qdq_only=False):
        raise InputError(f"The model {_named(model)} is quantized already: start from the float model.")


def check_forms(fp32: Model, int8: Model) -> None:
    """Refuse two models of which the first is quantized, or the second is not.

    Raises
    ------
    InputError
        As described, naming the model.
    """
    if _quantized(fp32.proto, qdq_only=True):
        raise InputError(f"The FP32 model {_named(fp32)} has Q/DQ: are the two models swapped?")
    if not _quantized(int8.proto, qdq_only=False):
        raise InputError(f"The INT8 model {_named(int8)} has no Q/DQ: nothing in it is INT8.")


def check_scales(table: ScaleTable, int8: Model, tensors: tuple[str, ...]) -> None:
    """Refuse scales that the INT8 model does not have.

    A tensor may have another tensor's scale: what a Concat joins, for instance, has the widest.

    Raises
    ------
    StaleError
        When they differ, naming a tensor and both scales.
    """
    own = {row.tensor: row for row in read_scales(int8.proto) if row.role != "weight"}
    given = {_values(row) for row in table.rows if row.role != "weight"}
    for name in tensors:
        if name in own and _values(own[name]) not in given:
            raise StaleError(
                f"The scales are not those of the INT8 model: tensor «{name}» has {max(table[name].scale):.6g} in the "
                f"table and {max(own[name].scale):.6g} in the model; give the table that {_named(int8)} was made from."
            )


def check_used(built: QuantizedModel, scales: str) -> None:
    """Refuse a model in which nothing became INT8, as the scales are of other tensors.

    Raises
    ------
    InputError
        As described.
    """
    if not built.quantized:
        raise InputError(
            f"'{scales}' has a scale for no tensor that this model quantizes, so nothing would be INT8: the scales are "
            "another model's, or its tensors were renamed since."
        )


def _values(row: Scale) -> tuple[object, ...]:
    shift = _SHIFT if row.dtype == "uint8" else 0
    return (row.scale, tuple(zero - shift for zero in row.zero_point))


def _quantized(proto: onnx.ModelProto, *, qdq_only: bool) -> bool:
    kinds = ("QuantizeLinear", "DequantizeLinear") if qdq_only else ("QuantizeLinear", "DequantizeLinear", *_INTEGER)
    bodies = (proto.graph.node, *(function.node for function in proto.functions))
    return any(node.op_type.startswith(kinds) for body in bodies for node in _every(body))


def _every(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _every(graph.node)


def _named(model: Model) -> str:
    return f"'{model.path.name}'" if model.path else "given"
