from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quantlab.errors import UsageError
from quantlab.numerics.affine import QuantParams
from quantlab.tuning.activation_scales import ActivationScales, scaled
from quantlab.tuning.adaptive_rounding import AdaptiveRounding
from quantlab.tuning.bias_correction import EmpiricalBias
from quantlab.tuning.layer import Corrected, Correction, Layer, computed, errors, sqnr_db
from tests.tuning.layers import layer

RELU = (0.0, np.inf)
CORRECTIONS = (EmpiricalBias(), AdaptiveRounding())


def gain_db(subject: Layer, correction: Correction) -> float:
    before = sqnr_db(subject, computed(subject, Corrected.none(subject)))
    return sqnr_db(subject, computed(subject, correction.correct(subject))) - before


def test_the_empirical_bias_takes_earlier_shifts_back_too() -> None:
    subject = layer()
    shifted = replace(subject, inputs=subject.inputs + np.float32(0.4))
    gap = shifted.targets - computed(shifted, EmpiricalBias().correct(shifted))
    np.testing.assert_allclose(gap.mean(axis=1), 0, atol=1e-4)
    assert np.abs((shifted.targets - computed(shifted, Corrected.none(shifted))).mean(axis=1)).max() > 0.1


def test_values_that_the_activation_cuts_off_do_not_shift_the_others() -> None:
    subject = layer(bounds=RELU)
    deep = subject.targets < np.quantile(subject.targets, 0.4, axis=1, keepdims=True) - 3
    spoilt = replace(subject, targets=np.where(deep, subject.targets * 30, subject.targets))
    assert deep.any()
    assert gain_db(spoilt, EmpiricalBias()) >= 0
    linear = replace(spoilt, bounds=(-np.inf, np.inf))
    blind = Corrected(subject.nearest, subject.scale, EmpiricalBias().correct(linear).bias)
    assert (
        errors(spoilt, computed(spoilt, EmpiricalBias().correct(spoilt))).sum()
        < errors(spoilt, computed(spoilt, blind)).sum()
    )


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("adjustable", [True, False])
@pytest.mark.parametrize("bounds", [RELU, (-np.inf, np.inf)])
def test_adaptive_rounding_gains_on_rows_that_did_not_fit_it(
    noise: float, groups: int, adjustable: bool, bounds: tuple[float, float]
) -> None:
    subject = layer(noise=noise, groups=groups, adjustable=adjustable, bounds=bounds)
    assert gain_db(subject, AdaptiveRounding()) > (6 if noise == 0 else 1)


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_without_a_bias_none_is_made(correction: Correction) -> None:
    assert not correction.correct(layer(adjustable=False)).bias.any()


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_integers_and_scales_are_those_of_int8(correction: Correction) -> None:
    corrected = correction.correct(layer(noise=0.2))
    assert np.array_equal(corrected.integers, np.rint(corrected.integers))
    assert np.abs(corrected.integers).max() <= 127
    assert np.array_equal(corrected.scale.astype(np.float32), corrected.scale)
    assert np.all(corrected.scale > 0)


def test_channels_that_gain_nothing_on_held_out_rows_are_left() -> None:
    subject = layer()
    random = np.random.default_rng(5)
    noise = np.where(subject.held_out[:, None], 0, 40 * random.normal(size=subject.targets.shape)).astype(np.float32)
    misled = replace(subject, targets=subject.targets + noise)
    assert gain_db(misled, EmpiricalBias()) >= 0
    assert gain_db(misled, AdaptiveRounding()) >= 0


def test_a_channel_of_zeros_stays_one() -> None:
    subject = layer()
    weights = subject.weights.copy()
    weights[0, 2] = 0
    targets = subject.targets.copy()
    targets[0, :, 2] = np.float32(subject.bias[0, 2])
    corrected = AdaptiveRounding().correct(replace(subject, weights=weights, targets=targets))
    assert not corrected.integers[0, 2].any()
    assert corrected.bias[0, 2] == pytest.approx(subject.bias[0, 2], abs=1e-6)


def test_inputs_that_are_always_zero_leave_the_weights_as_they_round() -> None:
    subject = layer(coarse=127.0)
    silent = replace(subject, inputs=np.zeros_like(subject.inputs))
    assert np.array_equal(AdaptiveRounding(strengths=(float("inf"),)).correct(silent).integers, subject.nearest)


def test_smaller_scales_are_tried_where_asked() -> None:
    subject = layer(coarse=127.0)
    corrected = AdaptiveRounding(strengths=(float("inf"),), shrink=(0.9,)).correct(subject)
    taken = np.abs(subject.weights).max(axis=2) * 0.9 / 127
    assert np.isclose(corrected.scale, taken.astype(np.float32), rtol=1e-6).any()


def test_the_scale_of_an_activation_follows_the_output_not_the_tensor() -> None:
    subject = layer(coarse=127.0)
    inputs, weights = subject.inputs.copy(), subject.weights.copy()
    inputs[0, :, 0] *= 40  # large values that no weight reads
    weights[0, :, 0] = 0
    subject = replace(subject, inputs=inputs, weights=weights)
    wide = QuantParams(np.asarray(np.abs(inputs).max() / 127, np.float32), np.asarray(0))
    choice = ActivationScales((0.05, 0.5))
    assert choice.choose(wide, subject) == 0.05
    assert choice.choose(wide, subject, others=1000) == 1.0
    assert ActivationScales(()).choose(wide, subject) == 1.0


def test_a_multiplied_scale_is_a_float32() -> None:
    params = scaled(QuantParams(np.asarray(0.1, np.float32), np.asarray(3), "uint8"), 0.3)
    assert params.scale.dtype == np.float32
    assert float(params.scale) == float(np.float32(float(np.float32(0.1)) * 0.3))
    assert int(params.zero_point) == 3


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"strengths": ()}, "strengths"),
        ({"strengths": (-1.0,)}, "strengths"),
        ({"damping": 0.0}, "damping"),
        ({"shrink": (1.5,)}, "scales to try"),
    ],
)
def test_settings_without_sense_are_refused(settings: dict[str, tuple[float, ...]], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        AdaptiveRounding(**settings)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="multipliers"):
        ActivationScales((0.0,))
