"""Runs made of numbers: what the tests of the gate compare."""

from __future__ import annotations

import numpy as np

from quantlab.calibration.provenance import DataIdentity, Provenance
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.comparison.agreement import Agreement
from quantlab.comparison.backends import Backends
from quantlab.comparison.comparison import Comparison, Sizes
from quantlab.comparison.latency import Latency
from quantlab.comparison.observation import NanSamples
from quantlab.comparison.paired import PairedValues
from quantlab.comparison.sample_table import MetricKind, SampleTable
from quantlab.numerics.arrays import F64, I64
from quantlab.regression.run import Run

CLASSES = 10
BACKEND = "onnxruntime 1.31.1 CPU (x86_64 avx2)"


def key(number: int) -> str:
    return f"{number:016x}"


def answers(samples: int, *, right: float = 0.9, seed: int = 0) -> tuple[I64, I64]:
    """Return labels, and the classes of a network that is right so often."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, CLASSES, samples)
    wrong = draw.random(samples) > right
    return labels, np.where(wrong, (labels + 1) % CLASSES, labels)


def flipped(labels: I64, classes: I64, *, worse: int, better: int, seed: int = 1) -> I64:
    """Return the classes with so many right ones made wrong, and so many wrong ones right."""
    draw = np.random.default_rng(seed)
    other = classes.copy()
    lost = draw.choice(np.flatnonzero(classes == labels), worse, replace=False)
    won = draw.choice(np.flatnonzero(classes != labels), better, replace=False)
    other[lost] = (labels[lost] + 2) % CLASSES
    other[won] = labels[won]
    return other


def table(
    labels: I64 | None, classes: I64, *, fp32: I64 | None = None, keys: tuple[str, ...] = (), noise: F64 | None = None
) -> SampleTable:
    """Return what a network with these classes left; without labels it has no metric."""
    count = len(classes)
    float_classes = classes if fp32 is None else fp32
    values, metrics = {}, {}
    if labels is not None:
        values["top-1"] = PairedValues((float_classes == labels).astype(float), (classes == labels).astype(float))
        metrics["top-1"] = MetricKind("top-1")
    energy = np.random.default_rng(int(classes.sum()) + count).random(count) if noise is None else noise
    return SampleTable(
        np.full(count, 100.0),
        energy,
        keys or tuple(key(i) for i in range(count)),
        tuple(f"image {i}" for i in range(count)),
        labels,
        float_classes,
        classes,
        None,
        values,
        metrics,
    )


def scales(
    values: dict[str, float], *, method: str = "Entropy()", model: str = "sha256:m", data: str = "one"
) -> ScaleTable:
    rows = tuple(Scale(name, (float(np.float32(value)),), method=method) for name, value in values.items())
    return ScaleTable(rows, Provenance(model, "net.onnx", (identity(data, 512),), {}, "log-linear"))


def identity(name: str, count: int, preprocess: dict[str, object] | None = None) -> DataIdentity:
    return DataIdentity(name, f"blake2b:{name}", count, preprocess or {})


def comparison(
    samples: SampleTable,
    *,
    latency: Latency | None = None,
    sizes: Sizes | None = None,
    nan: int = 0,
    data: str = "evaluation",
) -> Comparison:
    known = samples.int8_class is not None
    agreed = int(np.sum(samples.int8_class == samples.fp32_class)) if known else 0
    return Comparison(
        samples=len(samples),
        metrics=(),
        agreement=Agreement(agreed, len(samples) if known else 0),
        outputs=(),
        tensors=(),
        nan=NanSamples(0, nan),
        backends=Backends(BACKEND, BACKEND),
        data=identity(data, len(samples)),
        chosen_on=(),
        final=True,
        latency=latency,
        sizes=sizes,
    )


def run(samples: SampleTable, name: str = "run", *, scale: ScaleTable | None = None) -> Run:
    return Run(name, comparison(samples), samples, scale)
