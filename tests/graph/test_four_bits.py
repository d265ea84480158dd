"""INT4 in blocks: the integers, their bytes, and the opset that has them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import numpy_helper

from quantlab.errors import InputError
from quantlab.graph.four_bits import int4_initializer, quantize_blocks, raised
from quantlab.graph.model import Model, load_model
from tests.graph.nets import residual_net
from tests.graph.quantizing import FEED, run
from tests.graph.small_models import small_model, wide_model
from tests.numerics.tensors import law

RANDOM = np.random.default_rng(5)


def dequantized(integers: np.ndarray, scales: np.ndarray, axis: int, size: int) -> np.ndarray:
    return integers * np.repeat(scales, size, axis)


@pytest.mark.parametrize(("shape", "axis"), [((64, 5), 0), ((5, 64), 1), ((3, 32, 4), 1), ((96,), 0)])
def test_each_block_along_the_axis_has_its_own_scale(shape: tuple[int, ...], axis: int) -> None:
    weight = RANDOM.normal(size=shape).astype(np.float32)
    integers, scales = quantize_blocks(weight, axis, 32)
    assert integers.shape == shape
    assert scales.shape == tuple(n // 32 if i == axis else n for i, n in enumerate(shape))
    assert integers.dtype == np.int8
    assert integers.min() >= -8
    assert integers.max() <= 7
    off = np.abs(dequantized(integers, scales, axis, 32) - weight)
    within = np.repeat(scales, 32, axis) * 0.5001
    assert np.mean(off <= within) > 0.95  # the rest is clipped
    first = np.moveaxis(weight, axis, 0)[:32].copy()
    alone, _ = quantize_blocks(first, 0, 32)
    assert np.array_equal(np.moveaxis(integers, axis, 0)[:32], alone)


def test_blocks_err_less_than_one_scale_a_channel() -> None:
    weight = (RANDOM.normal(size=(128, 6)) * np.repeat([1, 0.1, 5, 0.01], 32)[:, None]).astype(np.float32)
    errors = [np.square(dequantized(*quantize_blocks(weight, 0, n), 0, n) - weight).sum() for n in (32, 128)]
    assert errors[0] < errors[1]


def test_a_block_of_zeros_is_zero_and_has_a_positive_scale() -> None:
    integers, scales = quantize_blocks(np.zeros((64, 2), np.float32), 0, 32)
    assert not integers.any()
    assert np.all(scales > 0)


@law
@given(arrays(np.int8, st.integers(0, 33), elements=st.integers(-8, 7)))
def test_onnx_reads_the_integers_back(integers: np.ndarray) -> None:
    tensor = int4_initializer("t", integers)
    assert len(tensor.raw_data) == (integers.size + 1) // 2
    assert numpy_helper.to_array(tensor).astype(np.int8).tolist() == integers.tolist()


def test_the_first_integer_is_in_the_low_half_of_a_byte() -> None:
    assert int4_initializer("t", np.array([1, -1, 7], np.int8)).raw_data == b"\xf1\x07"


def test_raising_keeps_what_the_model_computes_and_its_digest() -> None:
    model = load_model(residual_net())
    got = raised(model)
    assert (model.opset, got.opset, got.digest) == (17, 21, model.digest)
    assert np.allclose(run(got.proto, FEED)[0], run(model.proto, FEED)[0], rtol=1e-6)
    assert [i.name for i in got.proto.graph.input] == ["x"]


def test_large_initializers_survive_raising() -> None:
    model = load_model(wide_model())
    got = raised(model)
    onnx.checker.check_model(got.proto, full_check=True)
    assert {t.name for t in got.proto.graph.initializer} == {"w0", "w1", "b"}
    assert [i.name for i in got.proto.graph.input] == ["x"]


def test_a_model_that_is_new_enough_stays_as_it_is() -> None:
    proto = small_model(21)
    proto.ir_version = 10
    model = load_model(proto)
    assert raised(model) is model


def test_a_model_that_onnx_cannot_convert_is_refused_with_a_sentence() -> None:
    proto = small_model()
    proto.graph.node[0].op_type = "Nonsense"
    with pytest.raises(InputError, match="opset 17, INT4 in blocks needs 21"):
        raised(Model(proto, None, "sha256:0"))
