"""A fake quantizer: what INT8 makes of a tensor, with gradients to train through it."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from quantlab.errors import UsageError

Gradient: TypeAlias = Literal["ste", "lsq"]

_GRADIENTS = ("ste", "lsq")
_SMALLEST = torch.finfo(torch.float32).tiny
_MOST_TURNS = 16.0
"""Bound of |ln(scale / start)|: a factor of nine million, beyond which a scale means nothing."""


class FakeQuantize(nn.Module):
    """Rounds a tensor to `low · scale … high · scale` in steps of `scale`, half to even.

    The scale is kept as `start · exp(log_ratio)`, with `log_ratio` 0 at first: it is positive whatever an optimizer
    does, it equals the calibrated one bit for bit before the first step, and one learning rate fits large and small
    scales, as a step changes it by a factor. Weight decay on `log_ratio` pulls it back to the calibrated scale.

    Attributes
    ----------
    tensor
        Name in the ONNX model.
    axis
        The channels' axis; None: one scale.
    low, high
        Range of the integers; −128 … 127 is TensorRT's, 0 … 255 less the zero point ONNX Runtime's. 0 is in it.
    enabled
        False: `forward` returns its input.
    """

    start: Tensor

    def __init__(
        self,
        tensor: str,
        scale: Tensor,
        *,
        axis: int | None = None,
        low: int = -128,
        high: int = 127,
        gradient: Gradient = "lsq",
    ) -> None:
        super().__init__()
        if gradient not in _GRADIENTS:
            raise UsageError(f"The gradient of «{tensor}» is ste or lsq, not «{gradient}».")
        if not low <= 0 <= high or low == high:
            raise UsageError(f"The integers of «{tensor}» are 0 and others around it, not those of [{low}, {high}].")
        self.tensor, self.axis, self.low, self.high, self.gradient = tensor, axis, low, high, gradient
        self.enabled = True
        self.register_buffer("start", _checked(tensor, scale, axis))
        self.log_ratio = nn.Parameter(torch.zeros_like(self.start), requires_grad=gradient == "lsq")

    @property
    def scale(self) -> Tensor:
        """The scale, float32 [1] or [channels], finite and > 0; gradients reach `log_ratio` through it."""
        ratio = torch.exp(self.log_ratio.float().clamp(-_MOST_TURNS, _MOST_TURNS))
        return (self.start.float() * ratio).clamp(_SMALLEST, torch.finfo(torch.float32).max)

    @torch.no_grad()
    def set_scale(self, scale: Tensor) -> None:
        """Start anew from another scale.

        Raises
        ------
        UsageError
            When it is not finite and > 0, or of another shape.
        """
        checked = _checked(self.tensor, scale, self.axis)
        if checked.shape != self.start.shape:
            raise UsageError(f"«{self.tensor}» has {len(self.start)} scales, not {len(checked)}.")
        self.start.copy_(checked)
        self.log_ratio.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Return float values of the shape and type of `x`; computed in float32, as ONNX does.

        NaN stays NaN, so that a broken network is not hidden; infinities saturate.
        """
        if not self.enabled:
            return x
        scale = self.scale
        if not torch.is_grad_enabled():
            return _rounded(x, _along(scale, x, self.axis), self.low, self.high)
        rounded: Tensor = _FakeQuantize.apply(x, scale, self.axis, self.low, self.high)  # type: ignore[no-untyped-call]
        return rounded

    def extra_repr(self) -> str:
        """Return what torch prints of the module."""
        scales = f"{len(self.start)} scales along {self.axis}" if self.axis is not None else "1 scale"
        return f"{self.tensor!r}, {scales}, {self.low} … {self.high}, {self.gradient}"


class _FakeQuantize(torch.autograd.Function):
    """The straight-through gradient for x, and LSQ's for the scale.

    Gradients are those of `scale · (x / scale + c)` inside the range, where c = round(x / scale) − x / scale is held
    constant, and of `scale · low` or `scale · high` outside: for x 1 and 0; for the scale c, low and high, times
    1 / sqrt(N · high). Esser et al., Learned Step Size Quantization, ICLR 2020, eq. 3 and section 2.2; N counts the
    elements that share a scale, without the batch where there is one scale. Where no integer is above 0, −low stands
    for high.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, axis: int | None, low: int, high: int) -> Tensor:
        ctx.save_for_backward(x, scale)
        ctx.axis, ctx.low, ctx.high = axis, low, high
        return _rounded(x, _along(scale, x, axis), low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        x, scale = ctx.saved_tensors
        steps = x.float() / _along(scale, x, ctx.axis)
        nearest = steps.clamp(ctx.low, ctx.high)
        inside = nearest == steps
        to_x = gradients[0] * inside if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return to_x, None, None, None, None
        slope = nearest.round_().sub_(torch.where(inside, steps, 0.0))
        each = slope.mul_(gradients[0])
        summed = each.sum() if ctx.axis is None else each.sum([d for d in range(x.ndim) if d != ctx.axis % x.ndim])
        return to_x, summed.reshape(scale.shape) * _gradient_scale(x, ctx.axis, ctx.high or -ctx.low), None, None, None


def _rounded(x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    return (x.float() / scale).round_().clamp_(low, high).mul_(scale).to(x.dtype)


def _along(scale: Tensor, x: Tensor, axis: int | None) -> Tensor:
    """Return the scale in a shape that broadcasts over x."""
    if axis is None:
        return scale.reshape(())
    shape = [1] * x.ndim
    shape[axis] = -1
    return scale.reshape(shape)


def _gradient_scale(x: Tensor, axis: int | None, high: int) -> float:
    shared = x.shape[0] if axis is None and x.ndim > 1 else 1 if axis is None else x.shape[axis]
    return 1 / math.sqrt(max(x.numel() // max(shared, 1), 1) * high)


def _checked(tensor: str, scale: Tensor, axis: int | None) -> Tensor:
    """Return a copy, float32 [1] or [channels]."""
    flat = scale.detach().to(torch.float32, copy=True).reshape(-1)
    if flat.numel() == 0 or (axis is None and flat.numel() != 1):
        needed = "one scale" if axis is None else "a scale for each channel"
        raise UsageError(f"«{tensor}» needs {needed}, not {flat.numel()}.")
    if not bool((flat.isfinite() & (flat > 0)).all()):
        raise UsageError(f"A scale of «{tensor}» is not finite and > 0: calibrate it again, or leave it float.")
    return flat
