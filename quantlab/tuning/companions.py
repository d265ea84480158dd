"""FP32 and INT8 on their way through the network: what each has in memory, and what one visit to an operator does."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.weight_methods import WeightMethod
from quantlab.data.batch import Dataset
from quantlab.engines.onnx_runtime import Network, OrtEngine
from quantlab.engines.ort_session import OrtOptions
from quantlab.errors import InputError
from quantlab.graph.view import Graph
from quantlab.graph.weights import weight_row
from quantlab.numerics.affine import IntegerType, QuantParams, fake_quantize
from quantlab.numerics.arrays import F32, F64, AnyArray
from quantlab.tuning.activation_scales import scaled
from quantlab.tuning.layer import Corrected, Layer, computed, sqnr_db
from quantlab.tuning.networks import Networks, Step, quantizers, readers
from quantlab.tuning.samples import Row, sample_batches, samples_of
from quantlab.tuning.segments import Piece, Side, peak, pieces, tensor_sizes
from quantlab.tuning.typical_rows import typical
from quantlab.tuning.visit import LayerChange, Visit, WalkOptions
from quantlab.tuning.weighted import sampled_rows

_LEAST_ROWS = 4000
_ROWS_AN_INPUT = 20
_SHARE_OF_ROWS = 4  # a quarter of the memory is for the rows of one operator
_SHARE_OF_TENSOR = 8  # a tensor larger than an eighth of the memory is computed again instead of being kept
_SMALL = 64  # bytes of what is no activation, as the pieces of a shape
_HELD_OUT = 4  # every fourth batch judges


class Companions:
    """Both networks, halfway through; `begin` one, then `visit` the steps of its networks in their order."""

    def __init__(self, networks: Networks, batches: list[Row], settings: WalkOptions) -> None:
        self._networks, self._settings = networks, settings
        self._correction = settings.correction
        self._tunable = _tunable(networks) if settings.scales else set[str]()
        self._operands = {step.target: self._operand(step) for step in networks.steps}
        sizes = _Sizes(networks, batches[0], OrtOptions(threads=settings.threads))
        self._batches, cut = self._fitting(batches, sizes)
        self.samples = samples_of(self._batches)
        self._exact = Side(networks.graph, cut[0], self._batches, OrtOptions(threads=settings.threads))
        options = OrtOptions(optimize=False, threads=settings.threads)  # the arithmetic of Q/DQ, step by step
        self._got = Side(networks.simulated, cut[1], self._batches, options)

    @classmethod
    def begin(cls, networks: Networks, data: Dataset, settings: WalkOptions) -> Companions:
        """Read the samples and plan the way.

        Raises
        ------
        InputError
            The samples do not fit the model, or hold NaN.
        """
        with OrtEngine(Network(networks.model.proto, "", "the model"), options=OrtOptions(threads=1)) as engine:
            inputs = engine.inputs
        return cls(networks, sample_batches(data, inputs, samples=settings.samples, batch=settings.batch), settings)

    def visit(self, step: Step, table: ScaleTable) -> Visit:
        """Bring both networks to the next operator, correct it, and let the INT8 network go on with it so.

        Raises
        ------
        InputError
            FP32's output holds NaN or infinity.
        """
        start = time.perf_counter()
        layer = self._layer(step, scales_of(step, self._weight(step), table, self._networks.weight_method))
        multiplier = 1.0
        if step.op.node.name in self._tunable:
            multiplier, layer = self._rescaled(step, layer)
        layer = typical(layer)
        plain = Corrected.none(layer)
        chosen = self._correction.correct(layer) if self._correction else plain
        weight = np.asarray(step.op.tensor(chosen.weights), np.float32)
        bias = chosen.bias.astype(np.float32).ravel()
        self._go_on(step, weight, bias)
        changed = float((chosen.integers != plain.integers).mean())
        change = LayerChange(
            step.op.node.name,
            sqnr_db(layer, computed(layer, plain)),
            sqnr_db(layer, computed(layer, chosen)),
            changed,
            multiplier,
            time.perf_counter() - start,
        )
        reweighted = changed > 0 or not np.array_equal(chosen.scale, plain.scale)
        scale = chosen.scale.astype(np.float32).ravel()
        return Visit(step, change, weight, bias, scale, reweighted, not np.array_equal(chosen.bias, plain.bias))

    def _operand(self, step: Step) -> str:
        return step.bare if step.op.node.name in self._tunable else step.operand

    def _fitting(self, batches: list[Row], sizes: _Sizes) -> tuple[list[Row], tuple[tuple[Piece, ...], ...]]:
        """Return as many of the batches, evenly spread, as the memory allows, and how both networks are cut then."""
        steps, graph, other_graph = self._networks.steps, self._networks.graph, self._networks.simulated
        while True:
            samples = samples_of(batches)
            largest = self._settings.memory // (_SHARE_OF_TENSOR * samples)
            one = pieces(graph, [(step.target,) for step in steps], sizes, largest)
            other = pieces(other_graph, [(self._operands[step.target],) for step in steps], sizes, largest)
            need = samples * (peak(graph, one, sizes) + peak(other_graph, other, sizes))
            if need <= self._settings.memory or len(batches) == 1:
                return batches, (one, other)
            batches = batches[::2]

    def _weight(self, step: Step) -> AnyArray:
        weight = self._networks.graph.constant(step.op.node.input[1])
        assert weight is not None  # the placement has it as one
        return weight

    def _layer(self, step: Step, scale: F64) -> Layer:
        inputs, targets, held = self._rows(step)
        if not (np.isfinite(targets).all() and np.isfinite(inputs).all()):
            raise InputError(
                f"Input or output of «{step.op.node.name}» holds NaN or infinity: the model overflows on these samples."
            )
        op = step.op
        weights = op.matrix(self._weight(step))
        bias = np.zeros(scale.shape) if step.bias is None else step.bias.value.astype(np.float64).reshape(scale.shape)
        return Layer(weights, scale, bias, step.bias is not None, inputs, targets, held, step.bounds)

    def _rows(self, step: Step) -> tuple[F32, F32, AnyArray]:
        op, total = step.op, len(self._batches)
        room = self._settings.memory // (_SHARE_OF_ROWS * 4 * op.groups * (op.inputs + op.outputs))
        wanted = _ROWS_AN_INPUT if self._correction is None else self._correction.rows_an_input
        count = -(-min(max(wanted * op.inputs, _LEAST_ROWS), max(room, total)) // total)
        inputs, targets, held = [], [], []
        for number, (exact, got) in enumerate(zip(self._exact.advance(), self._got.advance(), strict=True)):
            x, y = sampled_rows(op, got[self._operands[step.target]], exact[step.target], count, number)
            inputs.append(x)
            targets.append(y)
            judges = number % _HELD_OUT == _HELD_OUT - 1 or (1 < total < _HELD_OUT and number == total - 1)
            held.append(np.full(x.shape[1], judges))
        return np.concatenate(inputs, axis=1), np.concatenate(targets, axis=1), np.concatenate(held)

    def _rescaled(self, step: Step, layer: Layer) -> tuple[float, Layer]:
        """Choose the scale of the operator's input, set it, and return its multiplier and the layer with it."""
        assert self._settings.scales is not None
        nodes = quantizers(self._networks, step.quantized)
        params = _params(self._networks.simulated, nodes[0].input[1], nodes[0].input[2])
        others = readers(self._networks, step.quantized) - 1
        multiplier = self._settings.scales.choose(params, layer, others=others)
        params = scaled(params, multiplier)
        self._got.change(dict.fromkeys((node.input[1] for node in nodes), params.scale))
        return multiplier, replace(layer, inputs=fake_quantize(layer.inputs, params))

    def _go_on(self, step: Step, weight: F32, bias: F32) -> None:
        self._got.change({step.op.node.input[1]: weight})
        if step.bias is not None:
            shape = self._networks.graph.shape(step.bias.constant) or ()
            self._got.change({step.bias.constant: bias.reshape([int(size) for size in shape])})


class _Sizes:
    """Bytes a sample of a tensor of either network."""

    def __init__(self, networks: Networks, batch: Row, options: OrtOptions) -> None:
        shapes = [networks.graph.shape(name) for name in networks.graph.inputs]
        if all(shape and isinstance(shape[0], str) for shape in shapes):  # else the batch is fixed
            batch = {name: value[:1] for name, value in batch.items()}
        self._known = tensor_sizes(networks.graph, batch, samples_of([batch]), options)
        self._simulated = networks.simulated

    def __call__(self, tensor: str) -> int:
        if tensor not in self._known:
            node = self._simulated.producer(tensor)
            like = node.input[0] if node is not None and node.input else ""
            if like == "" or self._simulated.is_constant(like):
                return _SMALL
            factor = {"QuantizeLinear": 0.25, "DequantizeLinear": 4.0}.get(node.op_type if node else "", 1.0)
            self._known[tensor] = int(self(like) * factor)
        return self._known[tensor]


def scales_of(step: Step, weight: AnyArray, table: ScaleTable, method: WeightMethod | None) -> F64:
    """Return the scales of the table's row if it fits the weight, else those of the method: [G, O]."""
    op, name = step.op, step.op.node.input[1]
    row = next((row for row in table.rows if row.tensor == name and row.role == "weight"), None)
    channels = op.groups * op.outputs
    if row is None or row.axis != op.channel_axis or len(row.scale) != channels or row.dtype != "int8":
        row = weight_row(name, weight, op.channel_axis, method)
    return np.array(row.scale, np.float64).reshape(op.groups, op.outputs)


def _params(graph: Graph, scale: str, zero_point: str) -> QuantParams:
    values, offsets = graph.constant(scale), graph.constant(zero_point)
    assert values is not None
    assert offsets is not None
    dtype: IntegerType = "uint8" if offsets.dtype == np.uint8 else "int8"
    return QuantParams(np.asarray(values), np.asarray(offsets, np.int64), dtype)


def _tunable(networks: Networks) -> set[str]:
    """Return the operators before which the scale of the input is still open: nothing has read it before."""
    graph, found, passed = networks.simulated, set[str](), set[str]()
    for step in networks.steps:
        nodes = quantizers(networks, step.quantized)
        if nodes and not passed.intersection(node.output[0] for node in nodes):
            found.add(step.op.node.name)
        waiting = [step.operand]
        while waiting:
            tensor = waiting.pop()
            producer = graph.producer(tensor)
            if tensor in passed or producer is None:
                continue
            passed.add(tensor)
            waiting += producer.input
    return found
