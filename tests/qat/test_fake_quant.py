import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.errors import UsageError
from quantlab.numerics.affine import QuantParams, fake_quantize

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")

from quantlab.qat.fake_quant import FakeQuantize  # noqa: E402 - after torch is known to be there

FLOATS = st.floats(-400, 400, width=32)
SCALES = st.floats(0.0078125, 8.0, width=32)


def quantizer(scale: list[float], **how: object) -> FakeQuantize:
    return FakeQuantize("x", torch.tensor(scale), **how)  # type: ignore[arg-type]


def gradient(of: Any) -> Any:
    """Return the gradient, which `backward` has made."""
    assert of.grad is not None
    return of.grad


def slope(function: Callable[[float], float], at: float) -> float:
    """Return a central difference in float64."""
    step = 1e-6 * max(abs(at), 1.0)
    return (function(at + step) - function(at - step)) / (2 * step)


def surrogate(x: float, scale: float, x0: float, scale0: float, low: int, high: int) -> float:
    """The smooth function whose gradient training uses: fake quantization in which rounding, a staircase without slope, is
    replaced by adding what it added at (x0, scale0); outside the range it is scale · low or scale · high, as it really is."""
    steps0 = x0 / scale0
    if steps0 <= low:
        return low * scale
    if steps0 >= high:
        return high * scale
    return scale * (x / scale + (np.rint(steps0) - steps0))


@pytest.mark.parametrize(("low", "high"), [(-128, 127), (-8, 7), (-117, 138)])
@pytest.mark.parametrize("steps", [0.0, 0.2, 1.7, -3.4, 6.9, -7.9, 40.3, 126.6, 127.3, -128.2, 300.0, -300.0])
@pytest.mark.parametrize("scale", [0.03, 1.0, 17.0])
def test_gradients_are_finite_differences_of_the_surrogate(scale: float, steps: float, low: int, high: int) -> None:
    fake = quantizer([scale], low=low, high=high)
    start = float(fake.scale.detach())
    x = torch.tensor([steps * start], requires_grad=True)
    at = float(x.detach())
    fake(x).sum().backward()
    by_x = slope(lambda moved: surrogate(moved, start, at, start, low, high), at)
    by_log = slope(lambda log: surrogate(at, start * math.exp(log), at, start, low, high), 0.0) / math.sqrt(high)
    assert float(gradient(x)) == pytest.approx(by_x, abs=1e-6)
    assert float(gradient(fake.log_ratio)) == pytest.approx(by_log, rel=2e-4, abs=2e-4 * scale)


def test_channels_have_gradients_of_their_own() -> None:
    scale = [0.1, 2.0, 0.5]
    x = torch.linspace(-30, 30, 4 * 3 * 5).reshape(4, 3, 5).requires_grad_()
    weight = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
    together = quantizer(scale, axis=1)
    (together(x) * weight).sum().backward()
    for channel in range(3):
        alone = quantizer(scale[channel : channel + 1], axis=0)
        part = x.detach()[:, channel].reshape(1, -1).requires_grad_()
        (alone(part) * weight[:, channel].reshape(1, -1)).sum().backward()
        assert torch.equal(gradient(part).reshape(4, 5), gradient(x)[:, channel])
        assert float(gradient(together.log_ratio)[channel]) == pytest.approx(float(gradient(alone.log_ratio)), rel=1e-4)


def test_the_gradient_of_a_scale_does_not_grow_with_the_batch() -> None:
    once, often = quantizer([0.1]), quantizer([0.1])
    x = torch.linspace(0.01, 1.03, 12).reshape(1, 12)
    once(x).mean().backward()
    often(x.repeat(50, 1)).mean().backward()
    assert float(gradient(once.log_ratio)) == pytest.approx(float(gradient(often.log_ratio)), rel=1e-4)


@given(st.lists(FLOATS, min_size=1, max_size=30), SCALES)
def test_values_are_those_of_quantize_and_dequantize_linear(values: list[float], scale: float) -> None:
    x, params = np.array(values, np.float32), QuantParams(np.array(scale, np.float32)[()], np.array(0)[()])
    assert quantizer([scale])(torch.tensor(x)).detach().numpy().tolist() == fake_quantize(x, params).tolist()


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.5, 0.0), (1.5, 2.0), (2.5, 2.0), (-0.5, 0.0), (math.inf, 127.0), (-math.inf, -128.0), (1e38, 127.0)],
)
def test_ties_go_to_even_and_infinities_saturate(value: float, expected: float) -> None:
    assert float(quantizer([1.0])(torch.tensor(value)).detach()) == expected


def test_infinities_leave_finite_gradients() -> None:
    fake, x = quantizer([1.0]), torch.tensor([math.inf, -math.inf, 0.3], requires_grad=True)
    fake(x).sum().backward()
    assert gradient(x).tolist() == [0, 0, 1]
    assert torch.isfinite(gradient(fake.log_ratio)).all()


def test_nan_stays_visible_and_reaches_no_input() -> None:
    fake, x = quantizer([1.0]), torch.tensor([math.nan, 0.3], requires_grad=True)
    out = fake(x)
    out.sum().backward()
    assert out.isnan().tolist() == [True, False]
    assert gradient(x).tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(), (0,), (1,), (1, 1, 1), (0, 3)])
def test_empty_and_single_values_have_gradients(shape: tuple[int, ...]) -> None:
    fake, x = quantizer([0.5]), torch.full(shape, 0.6, requires_grad=True)
    out = fake(x)
    out.sum().backward()
    assert out.shape == x.shape == gradient(x).shape
    assert torch.isfinite(gradient(fake.log_ratio)).all()


def test_zeros_stay_zero() -> None:
    assert quantizer([3.0, 0.1], axis=0)(torch.zeros(2, 7)).detach().count_nonzero() == 0


@pytest.mark.parametrize("pushed", [1e9, -1e9, 100.0, -100.0])
@pytest.mark.parametrize("scale", [1e-38, 1e-3, 3e38])
def test_a_scale_stays_positive_and_finite_wherever_an_optimizer_pushes_it(scale: float, pushed: float) -> None:
    fake = quantizer([scale])
    with torch.no_grad():
        fake.log_ratio.fill_(pushed)
    assert torch.isfinite(fake.scale).all()
    assert (fake.scale > 0).all()


@given(st.lists(st.floats(2.0**-40, 2.0**40, width=32), min_size=1, max_size=8))
def test_untrained_scales_are_the_calibrated_ones_bit_for_bit(scales: list[float]) -> None:
    assert quantizer(scales, axis=0).scale.detach().tolist() == scales


def test_straight_through_learns_no_scale() -> None:
    fake, x = quantizer([1.0], gradient="ste"), torch.tensor([0.4, 500.0], requires_grad=True)
    fake(x).sum().backward()
    assert gradient(x).tolist() == [1, 0]
    assert fake.log_ratio.grad is None
    assert not fake.log_ratio.requires_grad


def test_weight_decay_pulls_a_scale_to_the_calibrated_one() -> None:
    fake = quantizer([0.25])
    with torch.no_grad():
        fake.log_ratio.fill_(1.0)
    optimizer = torch.optim.SGD(fake.parameters(), 0.5, weight_decay=1.0)
    for _ in range(40):
        fake.log_ratio.grad = torch.zeros(1)
        optimizer.step()
    assert float(fake.scale.detach()) == pytest.approx(0.25, rel=1e-5)


def test_switched_off_it_is_the_identity() -> None:
    fake, x = quantizer([1.0]), torch.tensor([0.4])
    fake.enabled = False
    assert fake(x) is x


def test_a_set_scale_is_kept_and_starts_anew() -> None:
    fake = quantizer([1.0, 2.0], axis=0)
    with torch.no_grad():
        fake.log_ratio.fill_(0.7)
    fake.set_scale(torch.tensor([0.1, 0.3]))
    assert torch.equal(fake.scale.detach(), torch.tensor([0.1, 0.3]))


def test_its_state_goes_round_through_a_state_dict() -> None:
    trained, anew = quantizer([0.3]), quantizer([9.0])
    with torch.no_grad():
        trained.log_ratio.fill_(0.2)
    anew.load_state_dict(trained.state_dict())
    assert torch.equal(trained.scale, anew.scale)


def test_bfloat16_values_come_back_as_bfloat16_on_the_float32_grid() -> None:
    x = torch.linspace(-20, 20, 33).to(torch.bfloat16)
    out = quantizer([0.1])(x).detach()
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, quantizer([0.1])(x.float()).detach().to(torch.bfloat16))


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(UsageError, match="«x» is not finite and > 0"):
        quantizer([scale])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="needs one scale, not 2"):
        quantizer([1.0, 2.0])
    with pytest.raises(UsageError, match="needs a scale for each channel, not 0"):
        quantizer([], axis=0)
    with pytest.raises(UsageError, match="ste or lsq, not «magic»"):
        quantizer([1.0], gradient="magic")
    for low, high in ((1, 255), (0, 0), (-9, -1)):
        with pytest.raises(UsageError, match="are 0 and others around it"):
            quantizer([1.0], low=low, high=high)
    with pytest.raises(UsageError, match="has 1 scales, not 2"):
        quantizer([1.0], axis=0).set_scale(torch.ones(2))


@pytest.mark.parametrize(("low", "high"), [(0, 255), (-255, 0)])
def test_integers_on_one_side_of_zero_clip_the_other_and_their_scale_learns(low: int, high: int) -> None:
    fake = quantizer([0.5], low=low, high=high)
    x = torch.tensor([-1000.0, -0.6, 0.0, 0.6, 1000.0], requires_grad=True)
    found = fake(x)
    expected = [low * 0.5, max(low * 0.5, -0.5), 0.0, min(high * 0.5, 0.5), high * 0.5]
    assert found.tolist() == pytest.approx(expected)
    found.sum().backward()
    slopes = [low, (0.2 if low else 0), 0, (-0.2 if high else 0), high]
    assert float(gradient(fake.log_ratio)) == pytest.approx(0.5 * sum(slopes) / math.sqrt(5 * 255), rel=1e-4)
