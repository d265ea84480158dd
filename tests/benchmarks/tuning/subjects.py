"""The networks on which tuning is measured, each with the data that calibrate, choose and score it, and its metrics.

The files that `prepare` makes lie in one folder; the reference material holds EfficientNet-Lite0 and the photos.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from PIL import Image

from quantlab.atomic import atomic_path
from quantlab.data import Preprocess, arrays, images, stream
from quantlab.data.batch import Batch, Dataset
from quantlab.errors import InputError
from quantlab.metrics.metric import Metric
from quantlab.metrics.top_k import TopK
from tests.benchmarks.sample import PREPROCESS
from tests.benchmarks.tuning.boxes import BoxPrecision, SameTopClass
from tests.benchmarks.tuning.channel_spread import with_channel_spread
from tests.benchmarks.tuning.metrics import (
    EmbeddingCosine,
    ExactWords,
    HumanSimilarity,
    PairMetric,
    SameClass,
    SameWords,
    SetMetric,
)
from tests.benchmarks.tuning.words import on_line, render_set
from tests.gpu.detection import on_canvas
from tests.gpu.subjects import ordered

MODELS, REFERENCE = "QUANTLAB_TUNING_MODELS", "QUANTLAB_REFERENCE"
"""Environment variables: the folder that `prepare` filled, and the reference material's."""

HERE = Path(__file__).parent
SHIPPED = HERE.parents[2] / "calib_data"
LABEL = r"^(\d{4})_"
CALIBRATING = 300
"""Photos of the calibration sample that calibrate, in its order: what NNCF's default takes. All 512 choose."""

CANVASES = 128
"""Photos that calibrate the detector; the next 64 choose."""

BATCH = 16
FASHION = Preprocess(color="GRAY", layout="NCHW", scale=1 / 255, mean=0.2860, std=0.3530)
DIGITS = Preprocess(color="GRAY", layout="NCHW", scale=1 / 255, mean=0.1307, std=0.3081)
LITE1 = Preprocess(
    resize=(240, 240), interpolation="bicubic", layout="NCHW", color="RGB", scale=1.0, mean=127.0, std=128.0
)
"""The sample's photos are 224×224; Lite1 takes 240×240: enlarged by Pillow's bicubic filter."""


@dataclass(frozen=True, slots=True)
class Places:
    """Folders outside the project.

    Attributes
    ----------
    models
        What `prepare` made.
    reference
        The reference material.
    """

    models: Path
    reference: Path

    @classmethod
    def from_environment(cls) -> Places:
        """Read both environment variables.

        Raises
        ------
        InputError
            When one is not set to a folder.
        """
        folders = []
        for variable in (MODELS, REFERENCE):
            named = os.environ.get(variable, "")
            if not named or not Path(named).is_dir():
                raise InputError(f"Set {variable} to a folder; it is «{named}».")
            folders.append(Path(named))
        return cls(*folders)


@dataclass(frozen=True, slots=True)
class Subject:
    """A network and all that is needed to judge what INT8 makes of it.

    Attributes
    ----------
    name
        In file names.
    model
        The float network.
    calibration, tuning, evaluation
        What calibrates; what chooses (all or part of it may calibrate too, where there is no more); what scores, once.
    labelled
        Metrics that need the data's labels.
    paired
        Values a sample against FP32's answers; they need no labels.
    whole
        Values of a set against FP32's answers.
    evaluated
        Values of the evaluation set alone: they hold what people say of it.
    transformer
        Whether the peer is told so.
    """

    name: str
    model: Path
    calibration: Dataset
    tuning: Dataset
    evaluation: Dataset
    labelled: tuple[Metric, ...] = ()
    paired: tuple[PairMetric, ...] = ()
    whole: tuple[SetMetric, ...] = ()
    evaluated: tuple[SetMetric, ...] = ()
    transformer: bool = False


def open_subject(name: str, places: Places | None = None) -> Subject:
    """Return the subject of a name in `SUBJECTS`; the places are those of the environment if not given.

    Raises
    ------
    InputError
        For an unknown name, or where a file is missing.
    """
    if name not in SUBJECTS:
        raise InputError(f"There is no subject «{name}»; there are {', '.join(SUBJECTS)}.")
    found = SUBJECTS[name](places or Places.from_environment())
    if not found.model.is_file():
        raise InputError(f"There is no file {found.model}: tests/benchmarks/tuning/README.md tells how to make it.")
    return found


def _lite0(places: Places) -> Subject:
    return _imagenet("lite0", places.reference / "models" / "efficientnet_lite0.onnx", PREPROCESS, places)


def _lite1(places: Places) -> Subject:
    return _imagenet("lite1", places.models / "efficientnet_lite1.onnx", LITE1, places)


def _imagenet(name: str, model: Path, preprocess: Preprocess, places: Places) -> Subject:
    root = places.reference / "data" / "imagenet-sample"
    paths = ordered(root / "calib")

    def photos(source: Sequence[Path], part: str) -> Dataset:
        return images(source, preprocess=preprocess, batch=BATCH, label_pattern=LABEL, name=part)

    return Subject(
        name,
        model,
        photos(paths[:CALIBRATING], "calib, the first 300"),
        photos(paths, "calib"),
        photos(sorted((root / "eval").iterdir()), "eval"),
        labelled=(TopK(1), TopK(5)),
        paired=(SameClass("logits"),),
    )


def _fashion(_places: Places) -> Subject:
    sets = _three(lambda part: arrays(SHIPPED / f"{part}.npz", preprocess=FASHION, batch=64))
    model = SHIPPED / "fashion_net.onnx"
    return Subject("fashion", model, *sets, labelled=(TopK(1),), paired=(SameClass("logits"),))


def _digits(spread: int) -> Callable[[Places], Subject]:
    def opened(places: Places) -> Subject:
        model = places.models / f"digits_s{spread}.onnx"
        made = with_channel_spread(onnx.load(HERE / "digits_net.onnx"), spread).SerializeToString()
        if not model.is_file() or model.read_bytes() != made:
            with atomic_path(model) as temporary:
                temporary.write_bytes(made)
        sets = _three(lambda part: arrays(places.models / f"digits_{part}.npz", preprocess=DIGITS, batch=64))
        return Subject(f"digits{spread}", model, *sets, labelled=(TopK(1),), paired=(SameClass("logits"),))

    return opened


def _minilm(places: Places) -> Subject:
    with np.load(places.models / "lee_evaluation.npz") as scored:
        human = scored["human"]
    return Subject(
        "minilm",
        places.models / "minilm.onnx",
        *_three(lambda part: stream(list(_documents(places.models / f"lee_{part}.npz")), name=f"lee, {part}")),
        paired=(EmbeddingCosine("embedding"),),
        evaluated=(HumanSimilarity("embedding", human),),
        transformer=True,
    )


def _ocr(places: Places) -> Subject:
    model, output = places.models / "ppocrv4_rec.onnx", "softmax_11.tmp_0"
    texts, characters = tuple(word.text for word in render_set("evaluation")), _characters(model)
    return Subject(
        "ocr",
        model,
        *_three(lambda part: stream(list(_lines(part)), name=f"words, {part}")),
        paired=(SameWords(output, space=len(characters)), SameWords(output)),
        evaluated=(ExactWords(output, texts, characters),),
    )


def _yolo(places: Places) -> Subject:
    root = places.reference / "data" / "imagenet-sample"
    calib = ordered(root / "calib")
    named = [root / "eval" / line for line in (HERE / "photos.txt").read_text(encoding="ascii").split()]
    parts = {"calibration": calib[:CANVASES], "tuning": calib[CANVASES : CANVASES + 64], "evaluation": named}
    return Subject(
        "yolo",
        places.models / "yolov3_tiny.onnx",
        *_three(lambda part: stream(_Canvases(tuple(parts[part])), name=f"photos, {part}")),
        paired=(SameTopClass(),),
        whole=(BoxPrecision(),),
    )


def _three(make: Callable[[str], Dataset]) -> tuple[Dataset, Dataset, Dataset]:
    return make("calibration"), make("tuning"), make("evaluation")


@dataclass(frozen=True, slots=True)
class _Canvases:
    """Photos set on the detector's canvas, decoded anew in each pass."""

    paths: tuple[Path, ...]
    batch: int = 8

    def __call__(self) -> Iterator[Batch]:
        for start in range(0, len(self.paths), self.batch):
            chosen = self.paths[start : start + self.batch]
            rows = [on_canvas(np.asarray(Image.open(path).convert("RGB"))) for path in chosen]
            yield Batch({"input": np.stack(rows)}, names=tuple(path.name for path in chosen))


def _documents(path: Path) -> Iterator[Batch]:
    """Yield one document a batch, without padding: padded rows would be counted with the others."""
    with np.load(path) as stored:
        columns = {name: stored[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    for row, length in enumerate(columns["attention_mask"].sum(axis=1)):
        yield Batch({name: values[row : row + 1, :length] for name, values in columns.items()})


def _lines(part: str) -> Iterator[Batch]:
    rendered = render_set(part)
    for start in range(0, len(rendered), BATCH):
        chosen = rendered[start : start + BATCH]
        lines = np.stack([on_line(word.pixels) for word in chosen])
        yield Batch({"x": lines}, names=tuple(word.text for word in chosen))


def _characters(model: Path) -> tuple[str, ...]:
    """Return the recogniser's characters, from class 1 on, as its file names them; the last is the space."""
    if not model.is_file():
        return ()
    properties = {entry.key: entry.value for entry in onnx.load(model).metadata_props}
    return (*properties["character"].splitlines(), " ")


SUBJECTS: dict[str, Callable[[Places], Subject]] = {
    "lite0": _lite0,
    "fashion": _fashion,
    "digits10": _digits(10),
    "digits30": _digits(30),
    "yolo": _yolo,
    "minilm": _minilm,
    "ocr": _ocr,
    "lite1": _lite1,
}
"""In the order in which they are measured."""
