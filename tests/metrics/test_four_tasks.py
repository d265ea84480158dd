"""Metrics on real networks of four tasks: classification, detection, text and sentence embedding."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper
from PIL import Image

from quantlab import engines
from quantlab.comparison.comparison import CompareOptions, Comparison, compare
from quantlab.comparison.recording import record
from quantlab.comparison.sample_table import SampleTable
from quantlab.data import arrays, images, stream
from quantlab.data.batch import Batch, Dataset
from quantlab.engines.engine import Engine
from quantlab.graph.model import load_model
from quantlab.metrics.detection.mean_precision import MeanPrecision
from quantlab.metrics.detection.yolov3 import YoloV3
from quantlab.metrics.labels import Labels
from quantlab.metrics.names import for_model, parse_metric
from quantlab.metrics.pair_correlation import PairCorrelation, pair_labels
from quantlab.numerics.arrays import AnyArray
from tests.benchmarks.sample import PREPROCESS
from tests.benchmarks.tuning.metrics import ExactWords, HumanSimilarity, read_columns
from tests.benchmarks.tuning.prepare import RECOGNISER, raise_opset
from tests.benchmarks.tuning.subjects import FASHION, MODELS, SHIPPED
from tests.benchmarks.tuning.words import on_line, render_set
from tests.gpu.detection import on_canvas

SKIP = "needs the models of tests/benchmarks/tuning/README.md: set QUANTLAB_TUNING_MODELS to their folder"


@pytest.fixture(scope="module")
def models() -> Path:
    """The folder of the detector and the embedder, which are exported from weights that the project does not hold."""
    folder = os.environ.get(MODELS)
    if not folder:
        pytest.skip(SKIP)
    return Path(folder)


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recogniser, out of that folder or of the package that holds it."""
    if folder := os.environ.get(MODELS):
        return Path(folder) / "ppocrv4_rec.onnx"
    package = find_spec(RECOGNISER.parts[0])
    if package is None or package.origin is None:
        pytest.skip(SKIP)
    target = tmp_path_factory.mktemp("recogniser") / "ppocrv4_rec.onnx"
    raise_opset(Path(package.origin).parents[1] / RECOGNISER, target)
    return target


def perturbed(model: Path) -> Engine:
    """An engine over the network with its weights rounded to a few bits: INT8 enough to lose something."""
    found = load_model(model)
    proto = type(found.proto)()
    proto.CopyFrom(found.proto)
    for tensor in proto.graph.initializer:
        weights = numpy_helper.to_array(tensor)
        if weights.dtype == np.float32 and weights.ndim > 1:
            step = float(np.abs(weights).max()) / 24
            rounded = (np.rint(weights / step) * step).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    return engines.ort(proto, threads=1)


def found_by(
    model: Path, data: Dataset, names: tuple[str, ...], labels: AnyArray | Labels | None = None
) -> tuple[Comparison, SampleTable]:
    metrics = [for_model(parse_metric(name), load_model(model)) for name in names]
    with engines.ort(model, threads=1) as fp32, perturbed(model) as other:
        found = compare(fp32, other, data, metrics=metrics, options=CompareOptions(final=False, labels=labels))
    assert found.samples_table is not None
    assert all(score.interval.low <= score.drop <= score.interval.high for score in found.metrics)
    return found, found.samples_table


def outputs_of(model: Path, data: Dataset) -> dict[str, AnyArray]:
    with engines.ort(model, threads=1) as engine:
        return dict(record(engine, data).outputs)


CLASSIFYING = ("top:1", "balanced-accuracy", "f1:macro", "f1:micro")


def check_classes(found: Comparison, table: SampleTable) -> None:
    scores = {score.name: score for score in found.metrics}
    assert table.labels is not None
    assert table.fp32_class is not None
    right = table.labels == table.fp32_class
    assert scores["top-1"].fp32 == right.mean() == pytest.approx(scores["F1 (micro)"].fp32)
    classes = [right[table.labels == label].mean() for label in np.unique(table.labels)]
    assert scores["balanced accuracy"].fp32 == pytest.approx(np.mean(classes))


def test_classification_of_the_network_that_ships() -> None:
    whole = next(iter(arrays(SHIPPED / "evaluation.npz", preprocess=FASHION, batch=200)))
    data = stream([whole], name="200 clothes")
    found, table = found_by(SHIPPED / "fashion_net.onnx", data, CLASSIFYING)
    check_classes(found, table)
    assert found.metrics[0].fp32 > 0.85


@pytest.mark.reference
def test_classification_of_photos(reference: Path) -> None:
    paths = sorted((reference / "data" / "imagenet-sample" / "eval").iterdir())[::12]
    data = images(paths, preprocess=PREPROCESS, batch=7, label_pattern=r"^(\d{4})_")
    found, table = found_by(reference / "models" / "efficientnet_lite0.onnx", data, CLASSIFYING)
    check_classes(found, table)
    assert found.metrics[0].fp32 > 0.5


@pytest.mark.slow
@pytest.mark.reference
def test_detection_on_photos(reference: Path, models: Path) -> None:
    pytest.importorskip("pycocotools", reason="needs pycocotools: pip install 'quantlab[detection]'")
    listed = (Path(__file__).parents[1] / "benchmarks" / "tuning" / "photos.txt").read_text().split()[:6]
    root = reference / "data" / "imagenet-sample" / "eval"
    rows = np.stack([on_canvas(np.asarray(Image.open(root / name).convert("RGB"))) for name in listed])
    data = stream([Batch({"input": rows}, names=tuple(listed))], name="photos")
    model = models / "yolov3_tiny.onnx"
    # What FP32 is sure of, as people's boxes: then annotations and agreement are the same question.
    outputs = outputs_of(model, data)
    truth = np.empty(len(rows), object)
    truth[:] = [boxes.as_truth(0.25) for boxes in YoloV3().boxes(outputs, 100)]
    assert sum(len(boxes.classes) for boxes in truth) >= len(rows)
    found, table = found_by(model, data, ("map:yolov3,at=0.5", "boxes-as-fp32:yolov3", "map:yolov3"), truth)
    people, agreement, every = found.metrics
    assert people.fp32 == agreement.fp32 == 1.0
    assert people.int8 == agreement.int8 < 1.0
    assert every.int8 <= people.int8
    assert np.array_equal(table.values["AP50"].int8, table.values["AP50 against FP32's boxes"].int8)
    assert MeanPrecision(YoloV3(), 0.5).score(table.values["AP50"].int8) == people.int8


@pytest.mark.slow
def test_words_of_a_recogniser(recogniser: Path) -> None:
    model, rendered = recogniser, render_set("evaluation")[:16]
    lines = np.stack([on_line(word.pixels) for word in rendered])
    texts = np.array([word.text for word in rendered])
    data = stream([Batch({"x": lines})], name="words")
    names = ("word-accuracy", "character-error", "words-as-fp32")
    found, table = found_by(model, data, names, texts)
    words, characters, same = found.metrics
    ((output, scores),) = outputs_of(model, data).items()
    metric = for_model(parse_metric("word-accuracy"), load_model(model))
    known = (*getattr(metric, "characters", ()), " ")
    assert words.fp32 == ExactWords(output, tuple(texts), known).score({output: scores}, {output: scores})
    assert words.fp32 > 0.9
    assert same.fp32 == 1.0
    assert characters.fp32 <= 1 - words.fp32
    wrong = table.values["character error rate"].fp32
    assert wrong[:, 1].tolist() == [len(text) for text in texts]
    assert len(read_columns(scores)) == len(texts)


@pytest.mark.slow
def test_sentences_beside_people_s_judgement(models: Path) -> None:
    with np.load(models / "lee_evaluation.npz") as stored:
        columns = {name: stored[name][:12] for name in ("input_ids", "attention_mask", "token_type_ids")}
        human = stored["human"][:12, :12]
    lengths = columns["attention_mask"].sum(axis=1)
    rows = [Batch({name: values[i : i + 1, :n] for name, values in columns.items()}) for i, n in enumerate(lengths)]
    data, model = stream(rows, name="documents"), models / "minilm.onnx"
    pairs = [(int(i), int(j), float(human[i, j])) for i, j in zip(*np.triu_indices(12, 1), strict=True)]
    found, table = found_by(model, data, ("pearson", "spearman", "cosine"), pair_labels(12, pairs))
    pearson, spearman, cosine = found.metrics
    ((output, embedding),) = outputs_of(model, data).items()
    twin = HumanSimilarity(output, human).score({output: embedding}, {output: embedding})
    assert pearson.fp32 == pytest.approx(twin)
    assert spearman.fp32 == pytest.approx(PairCorrelation("spearman").score(table.values["Spearman of pairs"].fp32))
    assert cosine.fp32 == pytest.approx(1.0)
    assert 0.5 < cosine.int8 < 1.0
