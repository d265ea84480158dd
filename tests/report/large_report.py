"""A report as large as real ones get: 300 tensors with full histograms and eight thresholds, 600 activations, 60 pictures."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from quantlab.data.pictures import thumbnail
from quantlab.report.build import build
from quantlab.report.flips import Flipped, FlippedRow
from quantlab.report.precision import LayerPrecision, Precision
from quantlab.report.tensor_row import Activation, TensorRow
from tests.report.runs import parts

if TYPE_CHECKING:
    from quantlab.report.report_data import ReportData

PICTURES = 60
METHODS = (
    "minmax",
    "percentile:99.9",
    "percentile:99.99",
    "percentile:99.999",
    "entropy",
    "squared-error",
    "aciq",
    "user",
)


def large_report(tensors: int = 300) -> ReportData:
    """Return a report with a full row, sketch and eight thresholds for every tensor; other sections grow with their number."""
    random = np.random.default_rng(0)
    base = build(parts())
    rows = tuple(_row(base.tensors[0], i, random) for i in range(tensors))
    return replace(
        base,
        tensors=rows,
        activations=tuple(_activation(rows, i) for i in range(2 * tensors)),
        precision=Precision("model", tuple(_layer(i) for i in range(2 * tensors))),
        flipped=_flipped(min(PICTURES, tensors), random),
    )


def _row(like: TensorRow, place: int, random: np.random.Generator) -> TensorRow:
    """Return a tensor whose figures are chance; every tenth was not measured."""
    if like.sketch is None:
        raise ValueError("the small report's first tensor holds a sketch")
    stop = float(random.uniform(0.5, 12))
    counts = tuple(int(n) for n in random.poisson(5e6 * np.exp(-np.arange(160) / random.uniform(8, 40))))
    lines = tuple(
        replace(like.thresholds[0], method=name, amax=stop * share, clipped=(1 - share) / 99, expected_db=30 * share)
        for name, share in zip(METHODS, random.uniform(0.4, 1, len(METHODS)).tolist(), strict=True)
    )
    own, accumulated = float(random.uniform(15, 50)), float(random.uniform(-3, 40))
    return replace(
        like,
        position=place + 1,
        name=_name(place),
        shape=("batch", int(random.choice([32, 96, 1280])), 14, 14),
        role="activation" if place % 3 else "weight",
        method=("MinMax()", "Percentile(p=99.99, of='all')")[place % 2],
        scale=stop / 127,
        clipped=float(random.choice([0.0, 1e-6, 0.0123])),
        expected_db=float(random.uniform(15, 50)),
        own_db=None if place % 10 == 9 else own,
        accumulated_db=None if place % 10 == 9 else accumulated,
        thresholds=lines,
        sketch=replace(like.sketch, counts=counts, stop=stop, zeros=int(random.integers(10**6)), total=sum(counts)),
    )


def _name(place: int) -> str:
    return f"/features/features.{place // 3}/conv/conv.{place % 3}/Conv_output_0"


def _activation(rows: tuple[TensorRow, ...], place: int) -> Activation:
    row = rows[place // 2]
    if place % 2:
        return Activation(place + 1, f"{row.name}_inside", False, None, row.accumulated_db)
    return Activation(place + 1, row.name, True, row.own_db, row.accumulated_db, row.position)


def _layer(place: int) -> LayerPrecision:
    if place % 4 == 0:
        return LayerPrecision(_name(place), "Conv", "INT8", 10**6 + place)
    return LayerPrecision(
        _name(place), ("Softmax", "Gemm", "Mul")[place % 3], "float", place, "read by Softmax in float"
    )


def _flipped(pictures: int, random: np.random.Generator) -> Flipped:
    """Return 200 samples, as many of them as wished with noise for a picture: nothing compresses worse."""
    rows = []
    for i in range(200):
        noise = Image.fromarray(random.integers(0, 256, (96, 96, 3), np.uint8))
        picture = "data:image/jpeg;base64," + b64encode(thumbnail(noise)).decode() if i < pictures else ""
        rows.append(FlippedRow(i, f"photos/{i:05}.jpg", i % 10, i % 10, (i + 1) % 10, 0.5, picture))
    return Flipped(tuple(rows), 1234)
