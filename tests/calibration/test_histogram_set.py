"""Sets of histograms: a mapping with provenance, merged exactly or refused with the reason."""

from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest

from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.provenance import DataIdentity, Provenance
from quantlab.errors import InputError, StaleError
from quantlab.numerics.histogram import Histogram
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram
from tests.numerics.tensors import activation

X, Y = activation("gauss", 100), activation("silu", 50)


def data(name: str, *samples: int, **known: Any) -> DataIdentity:
    sketch = tuple(f"{sample:016x}" for sample in sorted(samples))
    return DataIdentity(name, f"blake2b:{samples}", len(samples), sketch=sketch, **known)


def collected(identity: DataIdentity, **values: np.ndarray[Any, Any]) -> HistogramSet:
    provenance = Provenance("sha256:1", "net.onnx", (identity,), {"quantlab": "0"}, "log-linear")
    return HistogramSet({k: Histogram.of(v) for k, v in values.items()}, provenance, {"a": ("N", 4)}, {"b": "a"})


ONE, TWO = collected(data("one", 1, 2), a=X[:60], b=Y[:20]), collected(data("two", 3), a=X[60:], b=Y[20:])


def changed(one: HistogramSet, **fields: Any) -> HistogramSet:
    return replace(one, provenance=replace(one.provenance, **fields))


def test_merging_equals_collecting_together() -> None:
    together = collected(data("all", 1, 2, 3), a=X, b=Y)
    assert dict(ONE.merge(TWO)) == dict(TWO.merge(ONE)) == dict(together)


def test_a_merged_set_names_all_its_data_and_keeps_the_rest() -> None:
    merged = ONE.merge(TWO)
    assert [identity.name for identity in merged.provenance.chosen_on] == ["one", "two"]
    assert (merged.shapes, merged.derived) == (ONE.shapes, ONE.derived)
    assert merged.provenance.model == ONE.provenance.model
    assert [identity.name for identity in ONE.provenance.chosen_on] == ["one"]


def test_a_third_set_may_follow() -> None:
    three = collected(data("three", 4), a=X, b=Y)
    assert dict(ONE.merge(TWO).merge(three)) == dict(ONE.merge(TWO.merge(three)))
    assert len(ONE.merge(TWO).merge(three).provenance.chosen_on) == 3


def test_it_is_a_mapping_in_graph_order() -> None:
    assert list(ONE) == ["a", "b"]
    assert len(ONE) == 2
    assert ONE["a"] == Histogram.of(X[:60])
    assert "c" not in ONE
    with pytest.raises(KeyError, match="c"):
        ONE["c"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"model": "sha256:2"}, "two models cannot be merged: sha256:1 and sha256:2"),
        ({"grid": "tensorrt, batch 32"}, "two grids cannot be merged: log-linear and tensorrt, batch 32"),
        ({"versions": {"quantlab": "1"}}, "two versions cannot be merged"),
    ],
)
def test_sets_of_another_model_grid_or_version_are_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(StaleError, match=sentence):
        ONE.merge(changed(TWO, **fields))


def test_sets_of_other_preprocessing_are_refused_by_name() -> None:
    other = collected(data("two", 3, preprocess={"scale": 0.5}), a=X, b=Y)
    with pytest.raises(StaleError, match="«one» and «two» were preprocessed differently"):
        ONE.merge(other)


SMALL, LARGE = (collected(data("calib", 1, 2, preprocess={"resize": side, "scale": 0.5}), a=X) for side in (320, 416))


def test_the_same_images_count_at_each_of_two_sizes() -> None:
    merged = SMALL.merge(LARGE)
    assert merged["a"] == Histogram.of(np.concatenate([X, X]))
    assert [identity.preprocess["resize"] for identity in merged.provenance.chosen_on] == [320, 416]
    with pytest.raises(InputError, match="«calib» and «calib» share samples"):
        merged.merge(LARGE)


@pytest.mark.parametrize(
    "preprocess",
    [
        {"resize": 416, "scale": 1.0},
        {"resize": 320, "scale": 0.5, "crop": [320, 320], "color": "BGR"},
        {"resize": 416},
    ],
)
def test_another_size_excuses_no_other_difference(preprocess: dict[str, Any]) -> None:
    with pytest.raises(StaleError, match="preprocessed differently"):
        SMALL.merge(collected(data("two", 3, preprocess=preprocess), a=X))


def test_one_size_after_two_resizes_is_no_second_shape() -> None:
    one, two = (collected(data("x", n, preprocess={"resize": n, "crop": [224, 224]}), a=X) for n in (256, 300))
    with pytest.raises(StaleError, match="preprocessed differently"):
        one.merge(two)


def test_dimensions_that_differ_are_unknown_afterwards() -> None:
    other = replace(TWO, shapes={"a": ("N", 5)})
    assert ONE.merge(other).shapes == {"a": ("N", None)}


@pytest.mark.parametrize("other", [data("one", 1, 2), data("two", 2, 3), data("two", 2)])
def test_samples_counted_twice_are_refused_by_name(other: DataIdentity) -> None:
    with pytest.raises(InputError, match=r"«one» and «(one|two)» share samples"):
        ONE.merge(collected(other, a=X, b=Y))


def test_samples_shared_with_an_earlier_part_are_refused_too() -> None:
    with pytest.raises(InputError, match="«two» and «again» share samples"):
        ONE.merge(TWO).merge(collected(data("again", 3), a=X, b=Y))


def test_data_without_a_sketch_are_refused() -> None:
    with pytest.raises(InputError, match="without a sketch"):
        ONE.merge(collected(DataIdentity("bare", "blake2b:?", 3), a=X, b=Y))


def test_other_tensors_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"cover different tensors: \['b', 'c'\]"):
        ONE.merge(collected(data("two", 3), a=X, c=Y))


def test_tensorrts_grid_is_refused() -> None:
    grid = TensorRTHistogram.starting(1.0, batch=32)
    one, two = replace(ONE, histograms={"a": grid}), replace(TWO, histograms={"a": grid})
    with pytest.raises(InputError, match="depend on batch order"):
        one.merge(two)
    with pytest.raises(InputError, match="«a» has histograms of two grids"):
        replace(ONE, histograms={"a": Histogram.of(X)}).merge(two)


def test_a_set_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        ONE.histograms = {}  # type: ignore[misc]
    with pytest.raises(TypeError):
        ONE["a"] = Histogram.of(X)  # type: ignore[index]


def test_the_frame_has_a_line_a_tensor() -> None:
    seen = collected(data("one", 1), a=np.array([0, 0, -1.5, 4]), b=np.array([np.nan, 2]))
    frame = seen.frame().set_index("tensor")
    assert list(frame.index) == ["a", "b"]
    assert tuple(frame.loc["a", ["values", "zeros", "low", "high", "amax", "nonfinite"]]) == (4, 0.5, -1.5, 4, 4, 0)
    assert frame["nonfinite"]["b"] == 1
    assert frame["derived_from"]["b"] == "a"


def test_the_frame_of_tensorrts_grid_knows_magnitudes_alone() -> None:
    grid = TensorRTHistogram.starting(1.0, batch=32).added(np.array([0.5, -1.0]))
    line = HistogramSet({"a": grid}, ONE.provenance, {}, {}).frame().iloc[0]
    assert (line["values"], line["amax"]) == (2, 1.0)
    assert np.isnan([line["zeros"], line["low"], line["high"]]).all()
