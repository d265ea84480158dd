"""`ql.plot`: one door to every drawing; the type of the value decides which."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from quantlab.audit.audit import Audit
from quantlab.builder import QuantizedModel
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.collector.channels import ChannelRanges, ChannelSet
from quantlab.comparison.comparison import Comparison
from quantlab.comparison.lineup import Entry, Lineup
from quantlab.comparison.recording import Recording
from quantlab.comparison.sample_table import SampleTable
from quantlab.comparison.three_way import ThreeWay
from quantlab.diagnosis.convergence import Convergence
from quantlab.diagnosis.diagnosis import Diagnosis
from quantlab.diagnosis.flips import Flips
from quantlab.engines.tensorrt.plan import Plan
from quantlab.errors import UsageError
from quantlab.numerics.histogram import Histogram
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram
from quantlab.plots.engines import audit, lineup
from quantlab.plots.flipped import flips, margins
from quantlab.plots.network import three_way, waterfall
from quantlab.plots.pairs import scatter
from quantlab.plots.settling import convergence
from quantlab.plots.tables import channel_scales, ranges, scales
from quantlab.plots.thresholds import histogram
from quantlab.plots.training import training
from quantlab.plots.trends import trend
from quantlab.plots.tuned import front, ladder, sensitivity
from quantlab.plots.weight_ranges import channels
from quantlab.storage.run_record import History
from quantlab.tuning.mixed_precision import MixedPrecision
from quantlab.tuning.sensitivity import Sensitivity
from quantlab.tuning.tuned import Tuned

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot(thing: Any, *more: Any, ax: "Axes | None" = None, **options: Any) -> "Axes":
    """Draw any of quantlab's values, by its type.

    ===================================  ===============================================================
    value                                drawn
    ===================================  ===============================================================
    Histogram, TensorRTHistogram         `plots.histogram`; `more` are methods, ranges or rows of a table
    HistogramSet                         `plots.ranges`; with a tensor's name in `more`, its histogram
    ScaleTable, Scale, QuantizedModel    `plots.scales`, `plots.channel_scales`
    numpy array, ChannelRanges           `plots.channels`; of a ChannelSet `more` names the tensor
    Comparison, ThreeWay, Lineup         `plots.waterfall`, `plots.three_way`, `plots.lineup`
    two Recordings                       `plots.scatter`
    SampleTable, Flips                   `plots.flips`, `plots.margins`
    Convergence, Diagnosis               `plots.convergence`, of a diagnosis the last method's
    Sensitivity, MixedPrecision, Tuned   `plots.sensitivity`, `plots.front`, `plots.ladder`
    Audit, Plan                          `plots.audit`
    Trained                              `plots.training`
    History                              `plots.trend`; `more` is drop, score, sqnr, size or latency
    ===================================  ===============================================================

    Parameters
    ----------
    thing
        One of these.
    more
        What the drawing takes besides.
    ax
        Where to draw; a new figure by default.
    options
        As the drawing's own function takes them.

    Raises
    ------
    UsageError
        For a value that has no drawing.
    """
    for kind, draw in _DRAWINGS.items():
        if isinstance(thing, kind):
            return draw(thing, *more, ax=ax, **options)
    if type(thing).__module__ == "quantlab.qat.trained":  # whose package needs PyTorch
        return training(thing, *more, ax=ax, **options)
    known = ", ".join(kind.__name__ for kind in _DRAWINGS)
    raise UsageError(f"There is no drawing of {type(thing).__name__}; there is one of {known} and Trained.")


def _of_set(histograms: Mapping[str, Any], tensor: str | None = None, *more: Any, **options: Any) -> "Axes":
    if tensor is None:
        return ranges(histograms, **options)
    if tensor not in histograms:
        raise UsageError(f"There is no histogram of «{tensor}» among the {len(histograms)}.")
    return histogram(histograms[tensor], *more, **{"title": tensor, **options})


def _of_model(built: QuantizedModel, **options: Any) -> "Axes":
    return scales(ScaleTable(built.weights), **options)


def _of_channels(channel_set: ChannelSet, tensor: str | None = None, **options: Any) -> "Axes":
    if tensor is None or tensor not in channel_set:
        some = ", ".join(f"«{name}»" for name in list(channel_set)[:6])
        raise UsageError(f"Name the tensor whose channels are to be drawn, such as {some or 'none: the set is empty'}.")
    return channels(channel_set[tensor], tensor, **options)


def _of_diagnosis(found: Diagnosis, *more: Any, **options: Any) -> "Axes":
    return convergence(found.convergence[-1], *more, **options)


def _of_plan(plan: Plan, **options: Any) -> "Axes":
    from quantlab.audit.audit import audit_engine

    if not plan.layers:
        raise UsageError("The plan was built without the engine inspector's report, so its layers are not known.")
    return audit(audit_engine(plan.layers), **options)


def _of_entry(entry: Entry, **options: Any) -> "Axes":
    return waterfall(entry.comparison, **options)


_DRAWINGS: dict[type, Callable[..., "Axes"]] = {
    Histogram: histogram,
    TensorRTHistogram: histogram,
    HistogramSet: _of_set,
    ScaleTable: scales,
    Scale: channel_scales,
    QuantizedModel: _of_model,
    np.ndarray: channels,
    ChannelRanges: channels,
    ChannelSet: _of_channels,
    Comparison: waterfall,
    Entry: _of_entry,
    ThreeWay: three_way,
    Lineup: lineup,
    Recording: scatter,
    SampleTable: flips,
    Flips: margins,
    Convergence: convergence,
    Diagnosis: _of_diagnosis,
    Sensitivity: sensitivity,
    MixedPrecision: front,
    Tuned: ladder,
    Audit: audit,
    Plan: _of_plan,
    History: trend,
}
