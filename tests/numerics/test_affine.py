"""Quantize and dequantize: the arithmetic of ONNX, its rounding, its ends and its special values."""

from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from quantlab.errors import InputError
from quantlab.numerics.affine import LIMITS, QuantParams, dequantize, fake_quantize, quantize
from quantlab.numerics.arrays import F32, AnyArray
from tests.numerics.tensors import LARGEST, f32, finite, law

Dtype = Literal["int8", "uint8"]

scales = st.floats(float(np.float32(1e-6)), float(np.float32(1e6)), width=32)


def params(scale: float, zero_point: int = 0, dtype: Dtype = "int8") -> QuantParams:
    return QuantParams(np.array(scale, np.float32), np.array(zero_point, np.int64), dtype)


def plain_quantize(value: float, scale: float, zero_point: int, dtype: str) -> int:
    """One value: divide in float32, round half to even, add the zero point, saturate."""
    low, high = LIMITS[dtype]
    with np.errstate(over="ignore"):
        quotient = float(np.float32(value) / np.float32(scale))
    if not np.isfinite(quotient):
        return high if quotient > 0 else low
    return min(max(round(quotient) + zero_point, low), high)


@law
@given(finite, scales, st.sampled_from([("int8", 0), ("int8", -5), ("uint8", 0), ("uint8", 128), ("uint8", 255)]))
def test_quantize_equals_one_value_at_a_time(x: F32, scale: float, kind: tuple[Dtype, int]) -> None:
    dtype, zero_point = kind
    got = quantize(x, params(scale, zero_point, dtype))
    assert got.dtype == np.dtype(dtype)
    assert got.tolist() == [plain_quantize(value, scale, zero_point, dtype) for value in x.tolist()]


@law
@given(finite, scales)
def test_inside_the_range_the_error_is_at_most_half_a_step(x: F32, scale: float) -> None:
    inside = x[np.abs(x) <= np.float32(127) * np.float32(scale)]
    error = np.abs(inside.astype(np.float64) - fake_quantize(inside, params(scale)))
    assert np.all(error <= scale / 2 + np.abs(inside.astype(np.float64)) * 2.0**-22)


@law
@given(finite, scales)
def test_quantizing_twice_changes_nothing_more(x: F32, scale: float) -> None:
    once = fake_quantize(x, params(scale))
    assert np.array_equal(fake_quantize(once, params(scale)), once)


@law
@given(st.integers(-128, 127), scales, st.integers(-128, 127))
def test_every_integer_comes_back(integer: int, scale: float, zero_point: int) -> None:
    chosen, stored = params(scale, zero_point), np.array([integer], np.int8)
    assert quantize(dequantize(stored, chosen), chosen).tolist() == [integer]


def test_halves_round_to_even() -> None:
    halves = f32(-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 125.5, 126.5)
    assert quantize(halves, params(1.0)).tolist() == [-2, -2, 0, 0, 2, 2, 126, 126]


def test_the_zero_point_is_added_after_rounding() -> None:
    assert quantize(f32(0.5, 1.5), params(1.0, 1)).tolist() == [1, 3]


@pytest.mark.parametrize(("dtype", "ends"), [("int8", [-128, 127]), ("uint8", [0, 255])])
@pytest.mark.parametrize("value", [np.inf, LARGEST, 1e10])
def test_what_is_beyond_the_ends_saturates_without_a_warning(dtype: Dtype, ends: list[int], value: float) -> None:
    assert quantize(f32(-value, value), params(0.01, 1, dtype)).tolist() == ends


def test_a_float64_beyond_float32_saturates_without_a_warning() -> None:
    assert quantize(np.array([-1e300, 1e300]), params(0.01)).tolist() == [-128, 127]


def test_nan_becomes_the_zero_point() -> None:
    assert quantize(f32(np.nan), params(0.5, 3)).tolist() == [3]


def test_the_largest_scale_keeps_the_largest_values_finite() -> None:
    scale = np.nextafter(np.float32(LARGEST / 127), np.float32(0))
    got = fake_quantize(f32(LARGEST, -LARGEST, np.inf), params(float(scale)))
    assert got.tolist() == [limit * scale for limit in f32(127, -127, 127)]


@pytest.mark.parametrize("x", [np.zeros(0, np.float32), np.zeros((2, 0), np.float32), np.array(1.5, np.float32)])
def test_shapes_are_kept(x: AnyArray) -> None:
    assert quantize(x, params(1.0)).shape == x.shape
    assert fake_quantize(x, params(1.0)).shape == x.shape
    assert fake_quantize(x, params(1.0)).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32, np.uint8])
def test_other_types_are_taken_as_float32(dtype: Any) -> None:
    x = np.array([0, 1, 2, 200], dtype)
    assert quantize(x, params(1.0)).tolist() == [0, 1, 2, 127]


def test_the_values_are_left_as_they_are() -> None:
    x = f32(1.25, np.nan, -np.inf)
    fake_quantize(x, params(1.0))
    assert np.array_equal(x, f32(1.25, np.nan, -np.inf), equal_nan=True)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_a_scale_a_channel_equals_channel_by_channel(axis: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    channels = x.shape[axis]
    scale = np.linspace(0.01, 0.05, channels, dtype=np.float32)
    zero_point = np.arange(channels)
    got = np.moveaxis(quantize(x, QuantParams(scale, zero_point, "int8", axis)), axis, 0)
    for i, channel in enumerate(np.moveaxis(x, axis, 0)):
        assert np.array_equal(got[i], quantize(channel, params(float(scale[i]), i)))


@pytest.mark.parametrize(("dtype", "zero_point"), [("int8", 0), ("int8", -128), ("uint8", 0), ("uint8", 128)])
def test_quantize_and_dequantize_equal_onnx_runtime(dtype: Dtype, zero_point: int) -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.standard_normal(5000) * 3, np.arange(-300, 300) * 0.0125, [1e30, -1e30, 0.0, 1e-40]])
    values, scale = x.astype(np.float32), float(np.float32(0.025))
    integers, floats = _onnx_runtime(values, scale, zero_point, dtype)
    assert np.array_equal(quantize(values, params(scale, zero_point, dtype)), integers)
    assert np.array_equal(fake_quantize(values, params(scale, zero_point, dtype)), floats)


def _onnx_runtime(x: F32, scale: float, zero_point: int, dtype: str) -> tuple[AnyArray, AnyArray]:
    kind = onnx.TensorProto.INT8 if dtype == "int8" else onnx.TensorProto.UINT8
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        "both",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None])],
        [
            helper.make_tensor_value_info("q", kind, [None]),
            helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None]),
        ],
        [
            helper.make_tensor("s", onnx.TensorProto.FLOAT, [], [scale]),
            helper.make_tensor("z", kind, [], [zero_point]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    integers, floats = session.run(None, {"x": x})
    return np.asarray(integers), np.asarray(floats)


def one(scale: Any, zero_point: Any, dtype: Any = "int8", axis: int | None = None) -> QuantParams:
    return QuantParams(np.array(scale, np.float32), np.array(zero_point, np.int64), dtype, axis)


@pytest.mark.parametrize("scale", [0.0, -0.0, -1.0, np.nan, np.inf, -np.inf])
def test_a_scale_that_is_not_positive_and_finite_is_refused(scale: float) -> None:
    with pytest.raises(InputError, match="finite and > 0"):
        one(scale, 0)
    with pytest.raises(InputError, match="finite and > 0"):
        one([1.0, scale], [0, 0], axis=0)


@pytest.mark.parametrize(("dtype", "zero_point"), [("int8", 128), ("int8", -129), ("uint8", -1), ("uint8", 256)])
def test_a_zero_point_outside_the_type_is_refused(dtype: str, zero_point: int) -> None:
    with pytest.raises(InputError, match=f"zero point of {dtype} lies in"):
        one(1.0, zero_point, dtype)


@pytest.mark.parametrize(
    ("scale", "zero_point", "axis"),
    [([1.0], [0], None), (1.0, 0, 0), ([1.0, 2.0], [0], 0), ([[1.0]], [[0]], 0), (1.0, [0], None)],
)
def test_shapes_of_scale_and_zero_point_must_agree_with_the_axis(scale: Any, zero_point: Any, axis: int | None) -> None:
    with pytest.raises(InputError, match="must have one shape"):
        one(scale, zero_point, axis=axis)


def test_a_type_that_is_no_byte_is_refused() -> None:
    with pytest.raises(InputError, match="int8 or uint8"):
        one(1.0, 0, "int4")


def test_a_scale_that_is_no_float32_is_refused() -> None:
    with pytest.raises(InputError, match="float32"):
        QuantParams(np.array(0.1), np.array(0), "int8")
