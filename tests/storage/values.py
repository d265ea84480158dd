"""Values to store: samples, and hypothesis strategies for any of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.provenance import DataIdentity, Provenance
from quantlab.calibration.ranges import Range
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.numerics.affine import IntegerType
from quantlab.numerics.histogram import Histogram
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
finite = st.floats(allow_nan=False, allow_infinity=False)
shapes = st.none() | st.lists(st.none() | st.integers(0, 2**40) | names, max_size=4).map(tuple)
ranges = st.none() | st.tuples(finite, finite).map(lambda pair: Range(min(pair), max(pair)))

identities = st.builds(
    DataIdentity,
    name=names,
    digest=names,
    count=st.integers(0, 2**40),
    preprocess=st.dictionaries(
        names, st.none() | st.booleans() | finite | names | st.lists(finite, max_size=3), max_size=3
    ),
    random=st.booleans(),
    sketch=st.sets(st.integers(0, 2**64 - 1), max_size=3).map(
        lambda found: tuple(f"{one:016x}" for one in sorted(found))
    ),
)
provenances = st.builds(
    Provenance,
    model=names,
    model_name=names,
    chosen_on=st.lists(identities, max_size=2).map(tuple),
    versions=st.dictionaries(names, names, max_size=3),
    grid=names,
)


@st.composite
def scales(draw: st.DrawFn, tensor: str) -> Scale:
    channels = draw(st.integers(1, 3))
    dtype: IntegerType = draw(st.sampled_from(["int8", "uint8"]))
    scheme = draw(st.sampled_from(["symmetric", "affine"]))
    zero_points = st.integers(-128, 127) if dtype == "int8" else st.integers(0, 255)
    if scheme == "symmetric":
        zero_points = st.just(0 if dtype == "int8" else 128)
    axis = draw(st.integers(0, 3)) if channels > 1 else draw(st.none() | st.integers(0, 3))
    values: dict[str, Any] = {
        "scale": draw(st.tuples(*[st.floats(2**-149, 2**100, width=32, exclude_min=False)] * channels)),
        "zero_point": draw(st.tuples(*[zero_points] * channels)),
        "axis": axis,
        "clipped": draw(st.none() | st.floats(0, 1)),
        "sqnr_db": draw(st.none() | st.floats(allow_nan=False)),
        "role": draw(st.sampled_from(["activation", "weight", "unknown"])),
        "scheme": scheme,
    }
    known: dict[str, Any] = {
        "shape": draw(shapes) if axis is None else None,
        "observed": draw(ranges),
        "chosen": draw(ranges),
        "method": draw(names | st.just("")),
    }
    return Scale(tensor, dtype=dtype, **values, **known)


@st.composite
def tables(draw: st.DrawFn) -> ScaleTable:
    rows = [draw(scales(name)) for name in draw(st.lists(names, max_size=3, unique=True))]
    return ScaleTable(tuple(rows), draw(st.none() | provenances), draw(st.none() | names))


def counted(values: Any) -> Histogram:
    return Histogram.of(np.asarray(values, np.float32))


def counted_as_tensorrt(values: Any) -> TensorRTHistogram:
    array = np.asarray(values, np.float32)
    return TensorRTHistogram.starting(float(np.abs(array).max(initial=0)), batch=2).added(array)


@st.composite
def histogram_sets(draw: st.DrawFn) -> HistogramSet:
    tensorrt = draw(st.booleans())
    some = arrays(
        np.float32, st.integers(0, 5), elements=st.floats(width=32, allow_nan=not tensorrt, allow_infinity=not tensorrt)
    )
    tensors = draw(st.lists(names, max_size=3, unique=True))
    count = counted_as_tensorrt if tensorrt else counted
    found: dict[str, Histogram | TensorRTHistogram] = {name: count(draw(some)) for name in tensors}
    shape = {name: known for name in tensors if (known := draw(shapes)) is not None}
    derived = {name: draw(names) for name in tensors if draw(st.booleans())}
    return HistogramSet(found, draw(provenances), shape, derived)


PROVENANCE = Provenance(
    model="sha256:00ff",
    model_name="net.onnx",
    chosen_on=(DataIdentity("calibration", "blake2b:12", 1000, {"mean": [0.5]}, sketch=("00000000000000aa",)),),
    versions={"quantlab": "0.1.0", "onnxruntime": "1.31.1"},
    grid="log-linear",
)

SCALE = float(np.float32(1 / 127))

TABLE = ScaleTable(
    (
        Scale(
            "input",
            (SCALE,),
            shape=("N", 3, None),
            observed=Range(-1.0, 0.5),
            chosen=Range(-1.0, 1.0),
            method="MinMax()",
        ),
        Scale("/conv/Conv_output_0", (0.25,), clipped=0.125, sqnr_db=float("inf"), method="Entropy()"),
        Scale("conv: 1.weight", (0.5, 2.0), (0, 0), axis=0, role="weight", method="MaxAbs()"),
    ),
    PROVENANCE,
)

HISTOGRAMS = HistogramSet(
    {
        "input": counted([0.0, 1.5, -2.0, np.nan]),
        "/conv/Conv: é_output_0": counted([]),
        "padded": counted([0.0, 0.0, 1.5, -2.0, np.nan]),
    },
    PROVENANCE,
    {"input": ("N", 3), "padded": ()},
    {"padded": "input"},
)
