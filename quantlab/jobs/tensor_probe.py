"""Which inner tensors a comparison measures, and the engines that show them."""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from quantlab import engines
from quantlab.calibration.scale_table import ScaleTable
from quantlab.comparison.tensors import TensorPlace, TensorProbe
from quantlab.engines.engine import Engine
from quantlab.errors import InputError
from quantlab.graph.model import Model
from quantlab.graph.normalise import normalise
from quantlab.graph.view import Graph, Shape

_BATCH = 4  # more measured no faster on a CPU, and takes memory in proportion


def quantized_tensors(fp32: Model, int8: Model, table: ScaleTable) -> tuple[str, ...]:
    """Return the activations of the scale table that the INT8 model quantizes and the float one has.

    Raises
    ------
    InputError
        When there is none.
    """
    return _in_table(_activations(fp32), _quantized(int8), table)


def open_probe(
    fp32: Model, int8: Model, table: ScaleTable, custom_ops: tuple[Path, ...], opened: ExitStack
) -> TensorProbe:
    """Return engines, to be closed with `opened`, that show every activation that both graphs have, in graph order.

    Those within fused operators are among them: what INT8 does not quantize shows where an error comes from.

    Raises
    ------
    InputError
        When the INT8 model quantizes no tensor of the table.
    """
    order, quantized = _activations(fp32), _quantized(int8)
    wanted = {*_in_table(order, quantized, table), *_common(order, fp32, int8)}
    shown = tuple(name for name in order if name in wanted)
    one, two = (
        opened.enter_context(engines.ort(model, expose=shown, optimize=False, custom_ops=custom_ops))
        for model in (fp32, int8)
    )
    places = {name: TensorPlace(place, name in quantized) for place, name in enumerate(order)}
    return TensorProbe(one, two, tensors=shown, table=table, batch=None if _fixed(one) else _BATCH, places=places)


def _activations(fp32: Model) -> tuple[str, ...]:
    """Return the float activations in the graph's order, without those that are no tensor of an inference."""
    return Graph(normalise(fp32).model.proto).float_activations()


def _in_table(order: tuple[str, ...], quantized: frozenset[str], table: ScaleTable) -> tuple[str, ...]:
    both = quantized.intersection(order)
    shown = tuple(row.tensor for row in table.rows if row.role != "weight" and row.tensor in both)
    if not shown:
        raise InputError("The INT8 model quantizes no tensor of the scale table: the scales are of another model.")
    return shown


def _quantized(int8: Model) -> frozenset[str]:
    nodes = int8.proto.graph.node
    read = {node.input[0] for node in nodes if node.op_type == "QuantizeLinear"}
    return frozenset(read | {node.output[0] for node in nodes if node.op_type == "DequantizeLinear"})


def _common(names: Iterable[str], fp32: Model, int8: Model) -> list[str]:
    """Return the names that both graphs have in one type and shape, a row a sample where the batch size is fixed.

    Another tensor of that name would end the comparison, and nobody asked for this one.
    """
    one, two = Graph(fp32.proto), Graph(int8.proto)
    both = set(one.float_activations()) & set(two.float_activations())
    fixed = {shape[0] for name in one.inputs if (shape := one.shape(name)) and isinstance(shape[0], int)}
    found: list[str] = []
    for name in names:
        mine, theirs = one.shape(name), two.shape(name)
        if name not in both or one.dtype(name) != two.dtype(name) or mine is None or theirs is None:
            continue
        if _fit(mine, theirs) and (not fixed or mine[:1] in [(rows,) for rows in fixed]):
            found.append(name)
    return found


def _fit(one: Shape, two: Shape) -> bool:
    """Tell whether two shapes may be the same; a free dimension fits any."""
    known = zip(one, two)  # noqa: B905 - only where there are as many
    return len(one) == len(two) and all(a == b or isinstance(a, str) or isinstance(b, str) for a, b in known)


def _fixed(engine: Engine) -> bool:
    return any(spec.shape and isinstance(spec.shape[0], int) for spec in engine.inputs.values())
