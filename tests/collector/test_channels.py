"""The range of each channel: dead ones, the spread of the others, and that batches leave no trace."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import quantlab as ql
from quantlab.collector.channels import ChannelRanges
from quantlab.engines.onnx_runtime import OrtEngine
from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import F32

NET = (
    '<ir_version: 8, opset_import: ["" : 17]> g (float[N,3,2,2] x) => (float[N,3,2,2] y, float[N] total) '
    "<float[1,3,1,1] w = {1.0, 0.0, 4.0}, int64[3] axes = {1, 2, 3}> "
    "{ scaled = Mul(x, w) y = Relu(scaled) total = ReduceSum<keepdims = 0>(y, axes) }"
)
tensors = hnp.arrays(np.float32, (4, 3, 2), elements=st.floats(-(2.0**40), 2.0**40, width=32))


def opened() -> OrtEngine:
    return ql.engines.ort(onnx.parser.parse_model(NET), expose="all")


def samples(count: int) -> F32:
    return np.random.default_rng(0).normal(size=(count, 3, 2, 2)).astype(np.float32)


@given(tensors, tensors)
def test_merging_equals_looking_at_all_together(x: F32, y: F32) -> None:
    merged = ChannelRanges.of(x).merge(ChannelRanges.of(y))
    together = ChannelRanges.of(np.concatenate([x, y]))
    assert np.array_equal(merged.low, together.low)
    assert np.array_equal(merged.high, together.high)


def test_a_dead_channel_is_named_and_left_out_of_the_spread() -> None:
    with opened() as engine:
        found = ql.collect_channels(engine, [{"x": samples(9)}])["y"]
    assert found.dead == (1,)
    assert found.constant == (1,)
    x = samples(9)
    expected = [x[:, 0].max(), 0, 4 * x[:, 2].max()]
    np.testing.assert_array_equal(found.high, np.array(expected, np.float32))
    assert found.spread == pytest.approx(max(found.amax) / min(found.amax[[0, 2]]))


def test_a_constant_channel_is_not_dead() -> None:
    found = ChannelRanges.of(np.array([[2, 0, 1], [2, 0, 3]]))
    assert (found.dead, found.constant) == ((1,), (0, 1))


def test_the_size_of_the_users_batches_leaves_no_trace() -> None:
    x = samples(10)
    with opened() as engine:
        one = ql.collect_channels(engine, [{"x": x}])
        many = ql.collect_channels(engine, [{"x": x[:3]}, {"x": x[3:4]}, {"x": x[4:]}])
    assert one.samples == many.samples == 10
    for name in one:
        np.testing.assert_array_equal(one[name].low, many[name].low)
        np.testing.assert_array_equal(one[name].high, many[name].high)


def test_a_tensor_without_the_axis_is_left_out() -> None:
    with opened() as engine:
        assert set(engine.outputs) == {"x", "scaled", "y", "total"}
        assert set(ql.collect_channels(engine, [{"x": samples(2)}])) == {"x", "scaled", "y"}
        assert set(ql.collect_channels(engine, [{"x": samples(2)}], axis=-1)) == {"x", "scaled", "y"}


def test_the_frame_has_a_line_a_tensor() -> None:
    with opened() as engine:
        found = ql.collect_channels(engine, [{"x": samples(5)}])
    frame = found.frame().set_index("tensor")
    assert list(frame["channels"]) == [3, 3, 3]
    assert list(frame["dead"]) == [0, 1, 1]
    assert frame["loudest"]["y"] == found["y"].amax.max()
    assert "5 samples" in found._repr_html_()


def test_all_dead_has_no_spread() -> None:
    assert np.isnan(ChannelRanges.of(np.zeros((1, 2), np.float32)).spread)


def test_nan_is_refused_by_tensor_and_place() -> None:
    x = samples(2)
    x[1, 0, 0, 0] = np.nan
    with opened() as engine, pytest.raises(InputError, match=r"Tensor «x», the batch from .*: It holds NaN"):
        ql.collect_channels(engine, [{"x": x}])


@pytest.mark.parametrize("values", [np.zeros((2, 0)), np.zeros(3)])
def test_what_has_no_channels_is_refused(values: F32) -> None:
    with pytest.raises(InputError):
        ChannelRanges.of(values)


def test_two_numbers_of_channels_do_not_merge() -> None:
    with pytest.raises(InputError, match="2 and 3 channels"):
        ChannelRanges.of(np.zeros((1, 2))).merge(ChannelRanges.of(np.zeros((1, 3))))


def test_what_cannot_be_looked_at_is_refused() -> None:
    with opened() as engine:
        with pytest.raises(UsageError, match="Axis 0 counts the samples"):
            ql.collect_channels(engine, [{"x": samples(1)}], axis=0)
        with pytest.raises(InputError, match="no sample"):
            ql.collect_channels(engine, [])
    with pytest.raises(UsageError, match=r"needs an engine, for instance ql\.engines\.ort"):
        ql.collect_channels("net.onnx", [])  # type: ignore[arg-type]
