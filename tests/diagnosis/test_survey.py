"""One pass: the same histograms as the collector's, whatever the order and the batches."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from quantlab import engines
from quantlab.collector.collect import collect
from quantlab.diagnosis.survey import PARTS, Survey, SurveyOptions, survey
from quantlab.errors import InputError
from quantlab.numerics.arrays import F32
from tests.diagnosis.fashion import batches
from tests.networks import image_batch, small_cnn


def seen(values: F32, size: int = 16, *, net: onnx.ModelProto | None = None, nonfinite: str = "refuse") -> Survey:
    options = SurveyOptions(choose=5, nonfinite="count" if nonfinite == "count" else "refuse")
    with engines.ort(net or small_cnn(), expose="all", threads=1) as engine:
        return survey(engine, batches(values, size), options=options)


def test_the_parts_together_are_what_the_collector_counts() -> None:
    values = image_batch(40)
    with engines.ort(small_cnn(), expose="all", threads=1) as engine:
        counted = collect(engine, [{"image": values}])
    found = seen(values)
    assert dict(found.whole) == dict(counted)
    assert found.data.digest == counted.provenance.chosen_on[0].digest
    assert sum(part.samples for part in found.parts) == 40
    assert 1 < len(found.parts) <= PARTS


def test_order_and_batches_leave_no_trace_in_the_parts() -> None:
    values = image_batch(30)
    one, two = seen(values), seen(values[::-1].copy(), 7)
    assert [part.samples for part in one.parts] == [part.samples for part in two.parts]
    assert [dict(part.histograms) for part in one.parts] == [dict(part.histograms) for part in two.parts]
    np.testing.assert_array_equal(one.low, two.low[::-1])
    np.testing.assert_array_equal(one.chosen.inputs["image"], two.chosen.inputs["image"])
    assert len(one.chosen) == 5


def test_each_sample_has_its_own_extremes() -> None:
    values = image_batch(6)
    found = seen(values)
    column = found.tensors.index("image")
    np.testing.assert_array_equal(found.high[:, column], values.reshape(6, -1).max(axis=1))
    np.testing.assert_array_equal(found.low[:, column], values.reshape(6, -1).min(axis=1))
    assert [sample.name for sample in found.samples] == [f"{i}.png" for i in range(6)]


def test_a_model_of_a_fixed_batch_and_a_last_batch_filled_up() -> None:
    values = image_batch(10)
    fixed = seen(values, 4, net=small_cnn(batch=4))
    assert len(fixed.samples) == 10
    assert fixed.whole["conv1"].total == seen(values).whole["conv1"].total


def test_samples_of_two_sizes_keep_their_names() -> None:
    net = small_cnn()
    for dimension in (2, 3):
        net.graph.input[0].type.tensor_type.shape.dim[dimension].dim_param = f"size{dimension}"
    small, large = image_batch(3), np.tile(image_batch(3, seed=2), (1, 1, 2, 2))
    rows = [value for pair in zip(small, large, strict=True) for value in pair]
    with engines.ort(net, expose=("image",), threads=1) as engine:
        found = survey(engine, [{"image": row[None]} for row in rows])
    wanted = {i: float(row.max()) for i, row in enumerate(rows)}
    assert {s.index: high for s, (high,) in zip(found.samples, found.high.tolist(), strict=True)} == wanted


def test_nan_is_refused_by_name_or_left_out() -> None:
    values = image_batch(4)
    values[2, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match=r"1 NaN in «2\.png»"):
        seen(values)
    found = seen(values, nonfinite="count")
    assert np.isfinite(found.amax).all()


def test_no_sample_is_refused() -> None:
    with pytest.raises(InputError, match="no sample"):
        seen(image_batch(0))


def test_channels_in_the_wrong_place_are_named() -> None:
    with pytest.raises(InputError, match=r"NHWC \[16, 12, 12, 3\].*--layout NCHW"):
        seen(image_batch(16).transpose(0, 2, 3, 1).copy())
