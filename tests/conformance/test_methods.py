"""What every calibration method promises; a new method joins by its line in METHODS (and here, if it has parameters)."""

import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from quantlab.calibration.methods.entropy import Entropy
from quantlab.calibration.methods.minmax import MinMax
from quantlab.calibration.methods.names import METHODS
from quantlab.calibration.methods.percentile import Percentile
from quantlab.calibration.methods.squared_error import SquaredError
from quantlab.calibration.methods.tensorrt import TensorRTEntropy2, TensorRTLegacy, TensorRTMinMax
from quantlab.calibration.ranges import Range
from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import F32
from quantlab.numerics.histogram import Histogram
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram
from tests.numerics.tensors import ACTIVATIONS, LARGEST, activation, f32, finite, ordinary

law = settings(max_examples=12, deadline=None)  # times methods times laws
HALF_A_BIN = 2048.5 / 2048
PYTORCH = Entropy("pytorch-quantization")
TENSORRT = [kind() for name, kind in METHODS.items() if name.startswith("tensorrt")]
LOG_LINEAR = [
    *(kind() for name, kind in METHODS.items() if not name.startswith("tensorrt")),
    Percentile(90.0),
    Percentile(99.9, "nonzero"),
    Entropy("gtc2017"),
    PYTORCH,
    Entropy("mxnet"),
]
METHOD_PARAMETERS = [*LOG_LINEAR, TensorRTLegacy(0.9), *TENSORRT]
MXNET = Entropy("mxnet")  # a quarter of a second a search: the laws that try many tensors go without it
QUICK = [method for method in METHOD_PARAMETERS if method != MXNET]
every_quick_method = pytest.mark.parametrize("method", QUICK, ids=repr)
every_quick_log_linear = pytest.mark.parametrize("method", [m for m in LOG_LINEAR if m != MXNET], ids=repr)
every_method = pytest.mark.parametrize("method", METHOD_PARAMETERS, ids=repr)
every_log_linear = pytest.mark.parametrize("method", LOG_LINEAR, ids=repr)


def on_tensorrts_grid(x: F32) -> TensorRTHistogram:
    return TensorRTHistogram.starting(float(np.abs(x).max(initial=0)), batch=1).added(x)


def seen_by(method: Any, x: F32) -> Any:
    """The histogram that a method reads."""
    return on_tensorrts_grid(x) if type(method).__name__.startswith("TensorRT") else Histogram.of(x)


def chosen(method: Any, x: F32) -> Range:
    found = method(seen_by(method, x))
    assert isinstance(found, Range)
    return found


@every_quick_method
@law
@given(ordinary)
def test_a_range_reaches_no_further_than_what_was_seen(method: Any, x: F32) -> None:
    found = chosen(method, x)
    amax = float(np.abs(x).max()) * HALF_A_BIN
    assert -amax <= found.low <= found.high <= amax
    if x.min() >= 0:
        assert found.low >= 0


@every_quick_method
@law
@given(finite)
def test_anything_that_is_not_zero_gets_a_range(method: Any, x: F32) -> None:
    assume(np.any(x != 0))
    found = chosen(method, x)
    assert 0 < found.amax <= float(np.abs(x).max()) * HALF_A_BIN
    assert math.isfinite(found.low)
    assert math.isfinite(found.high)


@every_quick_method
@law
@given(ordinary, st.integers(-40, 40))
def test_scaling_by_a_power_of_two_scales_the_range_exactly(method: Any, x: F32, power: int) -> None:
    one, scaled = chosen(method, x), chosen(method, np.ldexp(x, power))
    assert (scaled.low, scaled.high) == (np.ldexp(one.low, power), np.ldexp(one.high, power))


@every_method
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_real_shapes_scale_exactly_too(method: Any, name: str) -> None:
    x = activation(name, 5000)
    one, scaled = chosen(method, x), chosen(method, np.ldexp(x, -9))
    assert (scaled.low, scaled.high) == (one.low / 512, one.high / 512)


@every_quick_method
@law
@given(ordinary)
def test_mirroring_the_tensor_keeps_the_magnitude(method: Any, x: F32) -> None:
    assert chosen(method, -x).amax == chosen(method, x).amax


@every_quick_log_linear
@law
@given(ordinary, ordinary, st.randoms(use_true_random=False))
def test_neither_order_nor_batches_show(method: Any, x: F32, y: F32, random: Any) -> None:
    together = np.concatenate([x, y])
    order = list(range(together.size))
    random.shuffle(order)
    assert method(Histogram.of(x).merge(Histogram.of(y))) == method(Histogram.of(together[order]))


@every_method
@pytest.mark.parametrize("value", [5.0, -5.0, 2.0**-20, LARGEST])
@pytest.mark.parametrize("zeros", [0, 3, 1000])
def test_a_constant_is_covered_but_for_half_a_step(method: Any, value: float, zeros: int) -> None:
    x = np.append(np.zeros(zeros), np.full(50, value)).astype(np.float32)
    # TensorRT's Legacy counts zeros, which may reach any quantile by themselves.
    legacy = isinstance(method, TensorRTLegacy) and zeros >= method.quantile * x.size
    assert chosen(method, x).amax >= float(abs(np.float32(value))) * 126.5 / 127 or legacy


@pytest.mark.parametrize("method", [method for method in METHOD_PARAMETERS if method != PYTORCH], ids=repr)
@pytest.mark.parametrize("zeros", [0, 1000])
def test_no_range_clips_every_value_there_is(method: Any, zeros: int) -> None:
    x = np.append(np.zeros(zeros, np.float32), activation("far from zero", 5000))
    assert chosen(method, x).amax >= x[x > 0].min()


def test_the_one_range_that_may_clip_everything_is_pytorch_quantizations() -> None:
    # It divides 0 by 0 where no value is kept, and its argmin takes the last NaN for the least divergence.
    x = activation("far from zero", 5000)
    assert 0.99 * x.min() < chosen(PYTORCH, x).amax < x.min()


@every_method
@pytest.mark.parametrize("value", [2.0**-149, 1e-42, float(np.nextafter(np.float32(2.0**-135), np.float32(0)))])
def test_values_too_small_for_any_bin_still_get_a_range(method: Any, value: float) -> None:
    for x in (f32(value), f32(-value, 0, 0, value)):
        assert 0 < chosen(method, x).amax <= float(np.float32(value)) * HALF_A_BIN


@every_method
def test_an_outlier_far_out_is_clipped_by_whatever_is_meant_to_clip(method: Any) -> None:
    x = np.append(activation("gauss", 100_000), np.float32(60.0))
    clips = not isinstance(method, (MinMax, TensorRTMinMax))
    assert (chosen(method, x).amax < 0.9 * 60) == clips


@every_method
def test_a_tensor_of_zeros_gets_an_empty_range(method: Any) -> None:
    for x in (np.zeros(5, np.float32), f32(-0.0)):
        assert chosen(method, x) == Range(0.0, 0.0)


@every_method
def test_one_value_is_enough(method: Any) -> None:
    for value in (1.5, -1.5):
        assert chosen(method, f32(value)).amax == pytest.approx(1.5, rel=1e-3)


@every_log_linear
def test_a_tensor_without_a_finite_value_is_refused(method: Any) -> None:
    for x in (np.zeros(0), np.array([np.nan]), np.array([np.inf, -np.inf])):
        with pytest.raises(InputError, match="no finite value") as caught:
            method(Histogram.of(x))
        assert repr(method) in str(caught.value)


@every_log_linear
def test_nan_and_infinities_beside_finite_values_do_not_move_the_range(method: Any) -> None:
    x = activation("silu", 1000)
    assert chosen(method, np.append(x, f32(np.nan, np.inf, -np.inf))) == chosen(method, x)


@every_method
def test_the_histogram_is_left_as_it_is(method: Any) -> None:
    seen = seen_by(method, activation("relu, 69 % zeros", 2000))
    before = seen.counts.copy()
    first = method(seen)
    assert np.array_equal(seen.counts, before)
    assert method(seen) == first


@every_method
def test_the_other_kind_of_histogram_is_refused_in_one_sentence(method: Any) -> None:
    x = activation("gauss", 100)
    wrong: list[Any] = [Histogram.of(x), on_tensorrts_grid(x)]
    other = wrong[0] if isinstance(seen_by(method, x), TensorRTHistogram) else wrong[1]
    for histogram in (other, None, x):
        with pytest.raises(UsageError) as caught:
            method(histogram)
        text = str(caught.value)
        assert text.startswith(repr(method))
        assert text.endswith(".")
        assert "\n" not in text
        assert type(histogram).__name__ in text


@every_method
def test_a_method_is_a_value_whose_parameters_show_in_its_repr(method: Any) -> None:
    names: dict[str, Callable[..., Any]] = {kind.__name__: kind for kind in map(type, METHOD_PARAMETERS)}
    again = eval(repr(method), dict(names))
    assert again == method
    assert hash(again) == hash(method)
    for field in fields(method):
        with pytest.raises(FrozenInstanceError):
            setattr(method, field.name, None)
    with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
        method.anything = 1


def test_every_named_method_is_tested_here() -> None:
    assert {type(method) for method in METHOD_PARAMETERS} == {type(kind()) for kind in METHODS.values()}
    assert {MinMax, SquaredError, TensorRTEntropy2, TensorRTMinMax} <= {type(method) for method in METHOD_PARAMETERS}


@pytest.mark.parametrize(
    "method", [MinMax(), Percentile(99.9), Percentile(99.9, "nonzero"), SquaredError(), *TENSORRT], ids=repr
)
@law
@given(ordinary)
def test_counting_everything_again_changes_nothing(method: Any, x: F32) -> None:
    assert chosen(method, np.concatenate([x, x])) == chosen(method, x)
