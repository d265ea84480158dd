"""What a comparison scores: the metrics that were named, and the labels that they read."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from quantlab.data import Dataset
from quantlab.errors import UsageError
from quantlab.graph.model import Model
from quantlab.jobs.data_source import DataSource
from quantlab.metrics.label_files import read_labels
from quantlab.metrics.labels import Labels
from quantlab.metrics.metric import Metric
from quantlab.metrics.names import for_model, parse_metric
from quantlab.metrics.top_k import TopK


def metrics_for(data: Dataset, top: tuple[int, ...]) -> tuple[TopK, ...]:
    """Return the top-k scores where the data have labels; none otherwise."""
    first = next(iter(data), None)
    return tuple(TopK(k) for k in top) if first is not None and first.labels is not None else ()


def chosen_metrics(
    names: Sequence[str], data: Dataset, top: tuple[int, ...], *, model: Model | None, labels: bool = True
) -> tuple[Metric, ...]:
    """Return the metrics to score by.

    Parameters
    ----------
    names
        As `parse_metric` takes them; () is top-k where the data have labels.
    model
        The float model, which may name the characters that it reads.
    labels
        False leaves out what needs labels.

    Raises
    ------
    UsageError
        For an unknown metric, or two with the same name.
    InputError
        When a file that a metric names cannot be read.
    """
    if not names:
        return metrics_for(data, top) if labels else ()
    found = parsed(names)
    bound = [metric if model is None else for_model(metric, model) for metric in found]
    return tuple(metric for metric in bound if labels or not getattr(metric, "needs_labels", True))


def parsed(names: Sequence[str]) -> tuple[Metric, ...]:
    """Return the metrics of these names; errors as of `chosen_metrics`."""
    found = tuple(parse_metric(name) for name in names)
    called = [metric.name for metric in found]
    twice = next((name for name in called if called.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"The metric «{twice}» is asked for twice.")
    return found


def labels_of(source: DataSource, names: Sequence[str]) -> Labels | None:
    """Return the labels in the file that a data set names; None where it names none, and its own count.

    Raises
    ------
    InputError
        When they cannot be read.
    UsageError
        When no metric is named that reads them.
    """
    if source.labels is None:
        return None
    if not names:
        raise UsageError(
            f"'{source.labels}' holds labels, and nothing says how to score by them: name a metric, as map:yolov3, miou, "
            "word-accuracy or spearman."
        )
    return read_labels(Path(source.labels), source.preprocess)


def options(names: Sequence[str]) -> dict[str, Any]:
    """Return the metrics as JSON values of a recipe, with a digest of what their files hold; {} for the usual ones."""
    if not names:
        return {}
    pairs = zip(names, parsed(names), strict=True)
    return {"metrics": [f"{name} {sha256(repr(metric).encode()).hexdigest()[:16]}" for name, metric in pairs]}
