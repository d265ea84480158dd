"""What INT8 costs in the metric of each of four tasks: `python -m tests.benchmarks.metrics_of_four_tasks --models MODELS`.

Calibrated by squared error on each subject's calibration set, simulated as TensorRT's INT8 kernels compute, scored on its
evaluation set. MODELS is the folder that tests/benchmarks/tuning/README.md tells how to fill; QUANTLAB_REFERENCE names the
reference material. Nobody annotated the photos that the detector sees, so it is held against FP32's own boxes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import process_time

import numpy as np

from quantlab import engines
from quantlab.builder import QuantizeOptions, quantize
from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.methods.squared_error import SquaredError
from quantlab.collector.collect import collect
from quantlab.comparison.comparison import CompareOptions, compare
from quantlab.comparison.metric_score import MetricScore
from quantlab.comparison.paired import PairedValues
from quantlab.graph.model import load_model
from quantlab.metrics.metric import Metric
from quantlab.metrics.names import for_model, parse_metric
from quantlab.metrics.pair_correlation import pair_labels
from quantlab.numerics.arrays import AnyArray
from tests.benchmarks.figures import reference, write_figures
from tests.benchmarks.tuning.subjects import Places, Subject, open_subject
from tests.benchmarks.tuning.words import render_set

TARGET = "tensorrt@8.6"
METRICS = {
    "lite0": ("top:1", "top:5", "balanced-accuracy", "f1:macro"),
    "yolo": ("boxes-as-fp32:yolov3", "boxes-as-fp32:yolov3,at=0"),
    "ocr": ("word-accuracy", "character-error", "words-as-fp32"),
    "minilm": ("spearman", "pearson", "cosine"),
}
"""Subject → what it is scored by."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(METRICS), default=list(METRICS))
    asked = parser.parse_args()
    figures: dict[str, tuple[float | int | str, str]] = {}
    places = Places(asked.models, reference())
    for name in asked.only:
        figures |= figures_of(open_subject(name, places), labels_of(name, places))
    write_figures("metrics", "python -m tests.benchmarks.metrics_of_four_tasks --models MODELS", figures)


def labels_of(name: str, places: Places) -> AnyArray | None:
    """Return the labels of the evaluation set that are not its own: texts, and judgements of pairs."""
    if name == "ocr":
        return np.array([word.text for word in render_set("evaluation")])
    if name == "minilm":
        with np.load(places.models / "lee_evaluation.npz") as stored:
            human = stored["human"]
        pairs = zip(*np.triu_indices(len(human), 1), strict=True)
        return pair_labels(len(human), [(int(i), int(j), float(human[i, j])) for i, j in pairs])
    return None


def figures_of(subject: Subject, labels: AnyArray | None) -> dict[str, tuple[float | int | str, str]]:
    """Return both scores, the drop, its interval and the seconds that scoring alone takes, of each metric."""
    model = load_model(subject.model)
    metrics = tuple(for_model(parse_metric(name), model) for name in METRICS[subject.name])
    with engines.ort(model, expose="quantizable", target=TARGET) as engine:
        table = calibrate(collect(engine, subject.calibration), SquaredError())
    built = quantize(model, table, options=QuantizeOptions(target=TARGET, allow_missing=True))
    options = CompareOptions(labels=labels)
    with engines.ort(model) as fp32, engines.simulation(built.model) as int8:
        found = compare(fp32, int8, subject.evaluation, metrics=metrics, options=options)
    assert found.samples_table is not None
    rows: dict[str, tuple[float | int | str, str]] = {f"{subject.name}: samples": (found.samples, "samples")}
    for metric, score in zip(metrics, found.metrics, strict=True):
        rows |= {f"{subject.name}, {score.name}: {what}": row for what, row in of_score(score).items()}
        seconds = scoring_seconds(metric, found.samples_table.values[score.name])
        rows[f"{subject.name}, {score.name}: score and interval"] = (round(seconds, 2), "CPU s")
    return rows


def of_score(score: MetricScore) -> dict[str, tuple[float | int | str, str]]:
    """Return a score's figures."""
    low, high = score.interval.low, score.interval.high
    return {
        "FP32": (round(score.fp32, 4), "score"),
        "INT8": (round(score.int8, 4), "score"),
        "drop": (round(score.drop, 4), score.unit or "score"),
        "95 % interval of the drop": (f"{low:.3f} … {high:.3f}", score.unit or "score"),
    }


def scoring_seconds(metric: Metric, values: PairedValues) -> float:
    """Return the CPU seconds that the scores of both engines and the interval take, of values that are there."""
    start = process_time()
    MetricScore.of(metric, values)
    return process_time() - start


if __name__ == "__main__":
    main()
