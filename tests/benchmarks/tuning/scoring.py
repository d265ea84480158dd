"""Scores an INT8 network against its recorded FP32 twin on one set, and tells what its Q/DQ are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, numpy_helper

from quantlab import engines
from quantlab.comparison.comparison import CompareOptions, compare
from quantlab.comparison.recording import Recording, record
from quantlab.comparison.statistics import bootstrap
from quantlab.data.batch import Dataset
from quantlab.graph.lint import lint_qdq
from quantlab.graph.model import load_model
from quantlab.graph.target import Target
from quantlab.numerics.arrays import F64, AnyArray
from tests.benchmarks.tuning.boxes import BoxPrecision
from tests.benchmarks.tuning.metrics import PairMetric, SetMetric
from tests.benchmarks.tuning.subjects import Subject

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
PASSING = frozenset(
    {"Concat", "Expand", "Flatten", "Identity", "MaxPool", "Pad", "Reshape", "Slice", "Split", "Squeeze"}
)
PASSING |= {"Transpose", "Unsqueeze"}
"""Operators whose output holds their inputs' values: integers stay integers."""

TARGET = "tensorrt@8.6"


def answers(model: Any, data: Dataset, *, optimize: bool = False) -> Recording:
    """Return what ONNX Runtime answers, on one thread; its optimization off simulates TensorRT."""
    with engines.ort(model, optimize=optimize, threads=1) as engine:
        return record(engine, data)


def scored(subject: Subject, data: Dataset, fp32: Recording, int8: Recording) -> dict[str, Any]:
    """Return the figures of `int8` on a set: drops in points with interval, agreement, SQNR in dB, and every metric."""
    options = CompareOptions(final=False)
    result = compare(fp32.engine(), int8.engine(), data, metrics=subject.labelled, options=options)
    figures: dict[str, Any] = {
        metric.name: {
            "fp32": metric.fp32,
            "int8": metric.int8,
            "drop_points": metric.drop,
            "interval": [metric.interval.low, metric.interval.high],
        }
        for metric in result.metrics
    }
    if subject.labelled:
        low_high = result.agreement_interval
        figures["agreement"] = {"share": result.agreement.score, "interval": [low_high.low, low_high.high]}
    figures["sqnr_db"] = {error.tensor: error.sqnr_db for error in result.outputs}
    figures |= {metric.name: _paired(metric, fp32, int8) for metric in subject.paired}
    figures |= _whole(subject.whole, fp32, int8)
    if data is subject.evaluation:
        figures |= _whole(subject.evaluated, fp32, int8)
    return figures | {"samples": result.samples}


def beside(subject: Subject, data: Dataset, fp32: Recording, networks: tuple[Recording, Recording]) -> dict[str, Any]:
    """Return what the first INT8 network gains over the second on the same samples, each metric with its paired interval.

    Gains are percentage points for labelled metrics that are right or wrong, and the metric's own unit for the others. A
    gain whose interval holds 0 is noise.
    """
    first, second = networks
    options = CompareOptions(final=False)
    result = compare(first.engine(), second.engine(), data, metrics=subject.labelled, options=options)
    figures: dict[str, Any] = {
        metric.name: {"gain": metric.drop, "interval": [metric.interval.low, metric.interval.high]}
        for metric in result.metrics
    }
    for metric in subject.paired:
        one, other = (_values(metric, fp32, network) for network in networks)
        figures[metric.name] = {"gain": float(one.mean() - other.mean()), "interval": _interval(one, other, np.mean)}
    for boxes in (metric for metric in subject.whole if isinstance(metric, BoxPrecision)):
        one, other = (boxes.images(fp32.outputs, network.outputs) for network in networks)
        gain = boxes.pooled(one) - boxes.pooled(other)
        figures[boxes.name] = {"gain": gain, "interval": _interval(one, other, boxes.pooled)}
    return figures


def qdq_facts(model: ModelProto) -> dict[str, Any]:
    """Return what of a Q/DQ model is integer, and what TensorRT's rules say of it.

    `float_nodes` names the weighted operators of which an operand does not come from Q/DQ, at once or through operators
    that only pass values on; `activations` counts the QuantizeLinear of no constant by type and form of scale.
    """
    graph = model.graph
    integers = _integers(graph)
    weighted = [node for node in graph.node if node.op_type in WEIGHTED]
    left = [node.name or node.output[0] for node in weighted if not set(node.input[:2]) <= integers]
    found = lint_qdq(load_model(model), Target.parse(TARGET))
    return {
        "weighted_nodes": len(weighted),
        "float_nodes": left,
        "activations": dict(Counter(_kinds(graph))),
        "lint": dict(Counter(f"{finding.severity} {finding.rule}" for finding in found)),
    }


def _integers(graph: GraphProto) -> set[str]:
    """Return the tensors that stand for integers; the nodes of a model are in the order of execution."""
    found: set[str] = set()
    for node in graph.node:
        passed = node.input if node.op_type == "Concat" else node.input[:1]
        if node.op_type == "DequantizeLinear" or (node.op_type in PASSING and set(passed) <= found):
            found.update(node.output)
    return found


def _kinds(graph: GraphProto) -> Iterable[str]:
    constants = {tensor.name: tensor for tensor in graph.initializer}
    fixed = set(constants)
    for node in graph.node:
        if all(name in fixed for name in node.input):
            fixed.update(node.output)
        elif node.op_type == "QuantizeLinear":
            zero = numpy_helper.to_array(constants[node.input[2]]) if len(node.input) > 2 else np.zeros(1, np.uint8)
            scales = "per tensor" if zero.size == 1 else "per channel"
            yield f"{zero.dtype} {'symmetric' if not zero.any() else 'asymmetric'}, {scales}"


def _paired(metric: PairMetric, fp32: Recording, int8: Recording) -> dict[str, Any]:
    values = _values(metric, fp32, int8)
    return {
        "mean": float(values.mean()),
        "least": float(values.min()),
        "interval": _interval(values, values * 0, np.mean),
    }


def _whole(metrics: Iterable[SetMetric], fp32: Recording, int8: Recording) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for metric in metrics:
        exact, got = (metric.score(fp32.outputs, other.outputs) for other in (fp32, int8))
        figures[metric.name] = {"fp32": exact, "int8": got}
        if isinstance(metric, BoxPrecision):
            one, other = (metric.images(fp32.outputs, network.outputs) for network in (fp32, int8))
            figures[metric.name] |= {"drop": exact - got, "interval": _interval(one, other, metric.pooled)}
    return figures


def _values(metric: PairMetric, fp32: Recording, int8: Recording) -> F64:
    return np.asarray(metric.per_sample(fp32.outputs, int8.outputs), np.float64)


def _interval(first: AnyArray, second: AnyArray, score: Callable[[AnyArray], Any]) -> list[float]:
    span = bootstrap(first, second, lambda rows: float(score(rows)))
    return [span.low, span.high]
