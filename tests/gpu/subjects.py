"""The two networks that are measured, and their images, decoded once and kept in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Self

from quantlab.calibration.provenance import DataIdentity
from quantlab.data import Preprocess, images
from quantlab.data.batch import Batch, Dataset
from quantlab.engines.engine import Engine, TensorSpec
from quantlab.numerics.arrays import AnyArray, Tensors
from tests.benchmarks.sample import PREPROCESS

BATCH = 32
"""Images a calibration batch and a scoring batch."""

LABEL = r"^(\d{4})_"
INPUT = "input"
"""What both networks call theirs; TensorRT's calibrators ask for it by name."""

DETECTOR = Preprocess(resize=(416, 416), layout="NCHW", color="RGB", scale=1 / 255)
ANCHORS, FIELDS = 3, 85


@dataclass(frozen=True, slots=True)
class Subject:
    """A network and how it takes its images.

    Attributes
    ----------
    name
        In file names.
    preprocess
        What happens to an image.
    shape
        One sample's.
    classifies
        Whether the images' labels are its classes.
    """

    name: str
    preprocess: Preprocess
    shape: tuple[int, ...]
    classifies: bool

    def scored(self, engine: Engine) -> Engine:
        """Return the engine with an output of class scores: a detector's are those of its surest box."""
        return engine if self.classifies else Detecting(engine)


LITE0 = Subject("lite0", PREPROCESS, (3, 224, 224), classifies=True)
YOLO = Subject("yolov3_tiny", DETECTOR, (3, 416, 416), classifies=False)
SUBJECTS = {subject.name: subject for subject in (LITE0, YOLO)}


class InMemory:
    """A data set whose batches are made once; a Dataset."""

    def __init__(self, identity: DataIdentity, batches: tuple[Batch, ...]) -> None:
        self.identity, self.batches = identity, batches

    @classmethod
    def of(cls, data: Dataset, subject: Subject) -> Self:
        kept = tuple(_without_labels(batch) if not subject.classifies else batch for batch in data)
        return cls(data.identity, kept)

    def __len__(self) -> int:
        return sum(batch.samples for batch in self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)

    @property
    def names(self) -> tuple[str, ...]:
        """The images' file names without folder."""
        return tuple(Path(name).name for batch in self.batches for name in batch.names)


@dataclass(frozen=True, slots=True)
class Images:
    """The images that calibrate, in the order in which TensorRT shall see them, and those that choose nothing."""

    calibration: InMemory
    evaluation: InMemory
    both: InMemory

    @classmethod
    def read(cls, subject: Subject, calibration: Path, evaluation: Path, limit: int | None = None) -> Self:
        first, second = ordered(calibration)[:limit], sorted(evaluation.iterdir())[:limit]
        one, two = (
            InMemory.of(_opened(subject, paths, name), subject) for paths, name in ((first, "calib"), (second, "eval"))
        )
        return cls(one, two, InMemory(_opened(subject, first + second, "all").identity, one.batches + two.batches))


class Detecting:
    """A YOLO engine that also puts out the class scores [n, 80] of each image's surest box; an Engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.inputs = engine.inputs
        classes = TensorSpec("classes", np.dtype(np.float32), (None, FIELDS - 5))
        self.outputs = {**engine.outputs, "classes": classes}
        self.derivations = engine.derivations
        self.chosen_on = engine.chosen_on
        self.model_digest, self.model_name, self.backend = engine.model_digest, engine.model_name, engine.backend
        self.plan = getattr(engine, "plan", None)

    def run(self, batch: Tensors) -> Mapping[str, AnyArray]:
        heads = self._engine.run(batch)
        return {**heads, "classes": surest_classes(heads)}

    def restrict(self, outputs: tuple[str, ...]) -> Engine:
        return self._engine.restrict(outputs)

    def exposing(self, outputs: tuple[str, ...]) -> Engine:
        return self._engine.exposing(outputs)

    def close(self) -> None:
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def surest_classes(heads: Tensors) -> AnyArray:
    """Return for each image the logits of the classes of the box whose objectness times best class is largest."""
    boxes = [np.asarray(head).reshape(len(head), ANCHORS, FIELDS, -1) for head in heads.values()]
    every = np.concatenate([np.moveaxis(part, 2, 3).reshape(len(part), -1, FIELDS) for part in boxes], axis=1)
    sure = _logistic(every[..., 4]) * _logistic(every[..., 5:].max(axis=-1))
    best = sure.argmax(axis=1)
    return np.ascontiguousarray(every[np.arange(len(every)), best, 5:])


def at_batch(engine: Any, rows: int) -> Any:
    """Return the engine as one that takes this batch size alone, so that a shorter last batch is filled up."""
    from copy import copy
    from dataclasses import replace

    part = copy(engine)
    part.inputs = {name: replace(spec, shape=(rows, *spec.shape[1:])) for name, spec in engine.inputs.items()}
    return part


def _logistic(values: AnyArray) -> AnyArray:
    return 1 / (1 + np.exp(-values.astype(np.float64)))


def _opened(subject: Subject, paths: list[Path], name: str) -> Dataset:
    return images(paths, preprocess=subject.preprocess, batch=BATCH, input=INPUT, label_pattern=LABEL, name=name)


def ordered(folder: Path) -> list[Path]:
    listed = folder.parent / "order.txt"
    if not listed.is_file():
        return sorted(folder.iterdir())
    by_class = {int(path.name[:4]): path for path in folder.iterdir()}
    return [by_class[int(line)] for line in listed.read_text().split()]


def _without_labels(batch: Batch) -> Batch:
    return Batch(dict(batch), names=batch.names)
