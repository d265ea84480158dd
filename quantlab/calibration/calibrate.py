"""Histograms and a method in, a scale table out; no inference, milliseconds a tensor."""

from collections.abc import Iterable, Mapping
from typing import Any

from quantlab.calibration.expected_error import clipped_share, expected_sqnr_db
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.methods.squared_error import SquaredError
from quantlab.calibration.ranges import Range
from quantlab.calibration.rules import Rule
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.calibration.schemes import Scheme, Symmetric
from quantlab.errors import InputError, UsageError
from quantlab.numerics.histogram import Histogram
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram


def calibrate(
    histograms: Mapping[str, Histogram | TensorRTHistogram],
    method: Any = None,
    *,
    scheme: Scheme | None = None,
    rules: Iterable[Rule] = (),
) -> ScaleTable:
    """Return the scale of every tensor.

    Parameters
    ----------
    histograms
        By tensor name, as `collect` returns them; their provenance goes on to the table.
    method
        A histogram → Range function such as `Entropy()`; SquaredError() by default.
    scheme
        Makes scale and zero point of the range; Symmetric("int8") by default, the one TensorRT accepts.
    rules
        Exceptions by tensor name; the first that matches a tensor wins.

    Raises
    ------
    InputError
        For a tensor with NaN or infinities, or without any value, or a rule that matches no tensor.
    UsageError
        For a method that cannot read this kind of histogram.
    """
    method, scheme, rules = method or SquaredError(), scheme or Symmetric(), tuple(rules)
    if not isinstance(histograms, Mapping):
        raise UsageError(
            f"calibrate needs histograms by tensor name, as collect or load return them, not {histograms!r:.60}."
        )
    if isinstance(method, type) or not callable(method):
        raise UsageError(f"A method is an object such as ql.SquaredError(), not {method!r:.60}.")
    if not histograms:
        raise InputError("There is no histogram to calibrate from.")
    for rule in rules:
        if not any(rule.matches(tensor) for tensor in histograms):
            raise InputError(f"The rule for «{rule.pattern}» matches none of the {len(histograms)} tensors.")
    shapes = histograms.shapes if isinstance(histograms, HistogramSet) else {}
    rows = []
    for tensor, histogram in histograms.items():
        rule = next((r for r in rules if r.matches(tensor)), Rule(tensor))
        row = _row(tensor, histogram, rule.method or method, rule.scheme or scheme, shapes.get(tensor))
        rows.append(row)
    return ScaleTable(tuple(rows), histograms.provenance if isinstance(histograms, HistogramSet) else None)


def _row(tensor: str, histogram: Histogram | TensorRTHistogram, method: Any, scheme: Scheme, shape: Any) -> Scale:
    if isinstance(histogram, TensorRTHistogram):
        if not histogram.counts.any():
            raise InputError(f"Tensor «{tensor}» has no values: no sample reached it.")
        chosen, observed = (
            method(histogram),
            Range(-histogram.amax if histogram.negative else 0.0, histogram.amax),
        )
        return Scale.of(
            tensor,
            scheme.params(chosen),
            scheme=scheme.name,
            shape=shape,
            observed=observed,
            chosen=chosen,
            method=repr(method),
        )
    if histogram.nonfinite:
        raise InputError(
            f"Tensor «{tensor}» has {histogram.nonfinite} values that are NaN or infinite; no range covers them."
        )
    if histogram.total == 0:
        raise InputError(f"Tensor «{tensor}» has no values: no sample reached it.")
    chosen = method(histogram)
    params = scheme.params(chosen)
    return Scale.of(
        tensor,
        params,
        scheme=scheme.name,
        shape=shape,
        observed=Range(histogram.low, histogram.high),
        chosen=chosen,
        method=repr(method),
        clipped=clipped_share(histogram, params),
        sqnr_db=expected_sqnr_db(histogram, params),
    )
