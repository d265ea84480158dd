"""Metrics by their names, scores by the names in artefacts, and metrics of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import quantlab as ql
from quantlab.comparison.metric_score import MetricScore
from quantlab.comparison.paired import PairedValues
from quantlab.errors import QuantlabError, UsageError
from quantlab.metrics.balanced_accuracy import BalancedAccuracy, ClassAccuracy
from quantlab.metrics.character_error import CharacterError
from quantlab.metrics.correlation import Correlation
from quantlab.metrics.detection.mean_precision import BoxAgreement, MeanPrecision
from quantlab.metrics.detection.plain import Plain
from quantlab.metrics.detection.suppression import Suppression
from quantlab.metrics.detection.yolo_rows import YoloV5, YoloV8
from quantlab.metrics.detection.yolov3 import YoloV3
from quantlab.metrics.embedding_cosine import EmbeddingCosine
from quantlab.metrics.f1 import F1
from quantlab.metrics.mean_iou import MeanIoU
from quantlab.metrics.metric import Metric
from quantlab.metrics.names import METRICS, parse_metric, score_named, with_files
from quantlab.metrics.pair_correlation import PairCorrelation
from quantlab.metrics.top_k import TopK
from quantlab.metrics.word_accuracy import SameWords, WordAccuracy
from quantlab.numerics.arrays import AnyArray, Tensors

KNOWN: dict[str, Metric] = {
    "top": TopK(1),
    "top:5": TopK(5),
    " top:1,output=logits ": TopK(1, "logits"),
    "balanced-accuracy": BalancedAccuracy(),
    "class-accuracy:3": ClassAccuracy(3),
    "f1": F1("macro"),
    "f1:micro,output=y": F1("micro", "y"),
    "miou": MeanIoU(),
    "miou:classes=21,ignore=0": MeanIoU(21, 0),
    "map:yolov3": MeanPrecision(YoloV3()),
    "map:yolov5,at=0.5,limit=10": MeanPrecision(YoloV5(), 0.5, 10),
    "map:yolov8,least=0.1,overlap=0.7": MeanPrecision(YoloV8(suppression=Suppression(0.1, 0.7))),
    "map:plain,classes=3,order=a/b/c,corners=yxyx": MeanPrecision(Plain(3, ("a", "b", "c"), by_row=True)),
    "boxes-as-fp32:yolov3,at=0,sure=0.5": BoxAgreement(YoloV3(), None, sure=0.5),
    "word-accuracy:blank=2": WordAccuracy(blank=2),
    "character-error": CharacterError(),
    "words-as-fp32:space=9": SameWords(space=9),
    "spearman": PairCorrelation("spearman"),
    "pearson:pairs": PairCorrelation("pearson"),
    "pearson:predictions": Correlation("pearson"),
    "cosine": EmbeddingCosine(),
}


@pytest.mark.parametrize("text", KNOWN)
def test_a_name_stands_for_its_metric(text: str) -> None:
    assert parse_metric(text) == KNOWN[text]


def test_every_name_is_tried_here() -> None:
    assert {text.strip().partition(":")[0] for text in KNOWN} == set(METRICS)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("recall", "Unknown metric «recall»; the known ones are top, balanced-accuracy"),
        ("", "Unknown metric «»"),
        ("top:many", "needs a whole number, as in «top:5», not «many»"),
        ("class-accuracy", "needs a whole number"),
        ("top:0", "at least the first class"),
        ("f1:weighted", "not «weighted»"),
        ("f1:macro,beta=2", "has no parameter «beta»; it takes output"),
        ("miou:21", "has no parameter «21»; it takes classes, ignore, output"),
        ("miou:classes=x", "classes is «x», no whole number from 0 on"),
        ("map", "needs the name of a decoder, as in «map:yolov3»; there are yolov3, yolov5, yolov8, plain"),
        ("map:yolov3,at=half", "at is «half», no number from 0 on"),
        ("map:yolov3,at=-1", "at is «-1»"),
        ("map:yolov3,at=0.5,at=0.6", "is there twice"),
        ("map:yolov3,at", "«at» is no key=value"),
        ("words-as-fp32:space=x", "space is «x», no class"),
        ("spearman:words", "of pairs or of predictions, not of «words»"),
        ("word-accuracy:characters=none.txt", "There is no file 'none.txt'"),
    ],
)
def test_what_stands_for_nothing_is_refused_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(QuantlabError) as refusal:
        parse_metric(text)
    assert sentence in str(refusal.value)


def test_files_are_relative_to_a_folder() -> None:
    assert with_files("word-accuracy:blank=1,characters=a.txt,output=y", Path("job")) == (
        f"word-accuracy:blank=1,characters={Path('job') / 'a.txt'},output=y"
    )
    assert with_files("f1:macro", Path("job")) == "f1:macro"


def values_of(metric: Metric) -> AnyArray:
    """Return some values that the metric's score takes."""
    random = np.random.default_rng(0)
    if isinstance(metric, (MeanPrecision, BoxAgreement)):
        pytest.importorskip("pycocotools", reason="needs pycocotools: pip install 'quantlab[detection]'")
        # One box a row, found or not, and one object of class 0.
        return np.array([[1.0, 0.9, 0.0, 1023.0, 1.0], [1.0, 0.8, 0.0, 3.0, 1.0], [1.0, 0.7, 0.0, 0.0, 1.0]])
    if isinstance(metric, MeanIoU):
        return random.integers(1, 9, (5, 3, 2)).cumsum(axis=2).astype(np.float64)
    if isinstance(metric, PairCorrelation):
        labels = ql.metrics.pair_labels(4, [(0, 1, 1.0), (0, 2, 3.0), (1, 3, 2.0)])
        return metric.per_sample({"e": random.normal(size=(4, 3))}, labels)
    return random.integers(0, 4, (20, 2)).astype(np.float64)


@pytest.mark.parametrize("text", KNOWN)
def test_the_name_in_an_artefact_leads_back_to_the_score(text: str) -> None:
    metric = KNOWN[text]
    found = score_named(metric.name)
    assert (found is None) == (not hasattr(metric, "score"))
    if found is not None and hasattr(metric, "score"):
        values = values_of(metric)
        assert found(values) == metric.score(values)


def test_a_name_that_nobody_knows_has_no_score() -> None:
    assert score_named("my own") is None
    assert score_named("AP") is None


def brightness(outputs: Tensors, labels: AnyArray | None) -> AnyArray:
    return outputs["y"].mean(axis=1)


def test_a_function_becomes_a_metric() -> None:
    mine = ql.metric(brightness, higher_is_better=False, needs_labels=False)
    assert (mine.name, mine.higher_is_better, mine.needs_labels) == ("brightness", False, False)
    outputs = {"y": np.array([[1.0, 3.0], [5.0, 7.0]])}
    found = MetricScore.of(mine, PairedValues.of(mine, outputs, {"y": outputs["y"] + 1}, None))
    assert (found.name, found.fp32, found.int8, found.drop, found.unit) == ("brightness", 4.0, 5.0, 1.0, "")


def test_a_function_may_bring_a_score_of_its_own() -> None:
    worst = ql.metric(brightness, name="worst", score=lambda values: float(np.min(values)))
    outputs = {"y": np.array([[1.0, 3.0], [5.0, 7.0]])}
    found = MetricScore.of(worst, PairedValues.of(worst, outputs, outputs, None))
    assert (found.fp32, found.drop) == (2.0, 0.0)


def test_what_is_no_function_or_has_no_name_is_refused() -> None:
    with pytest.raises(UsageError, match="takes a function"):
        ql.metric("brightness")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="give one"):
        ql.metric(lambda outputs, _labels: outputs["y"])


def test_the_package_shows_every_metric() -> None:
    for name in ql.metrics.__all__:
        assert getattr(ql.metrics, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'F2'"):
        _ = ql.metrics.F2
