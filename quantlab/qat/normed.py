"""A weighted layer with its BatchNorm, trained together: the folded weight is what gets quantized."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from quantlab.qat.batch_norm import Statistics, along_outputs, fold
from quantlab.qat.fake_quant import FakeQuantize


class NormedLayer(nn.Module):
    """W ∗ x and BatchNorm, with γ / √(σ² + ε) · W rounded to integers.

    In training, with σ the running deviation: y = BatchNorm((FQ(W·γ/σ) ∗ x) · σ/γ + b), so that statistics are those of
    the batch while the integers are those of inference. (Krishnamoorthi, Quantizing deep convolutional networks for
    efficient inference, 2018, section 3.2.2.) In eval mode, and after `freeze`, y = FQ(W·γ/σ) ∗ x + β + (b − μ)·γ/σ.

    Attributes
    ----------
    weight, bias
        Of the layer, not folded.
    norm
        The BatchNorm; its statistics follow the batches in training until `frozen`.
    quantizer
        Of the folded weight; None: it stays float.
    """

    def __init__(
        self,
        weight: nn.Parameter,
        bias: nn.Parameter | None,
        norm: nn.Module,
        *,
        call: Callable[..., Tensor],
        late: tuple[Any, ...],
        named: Mapping[str, Any],
        groups: int | None,
    ) -> None:
        super().__init__()
        self.weight, self.norm = weight, norm
        self.register_parameter("bias", bias)
        self.quantizer: FakeQuantize | None = None
        self.frozen = False
        self._call, self._late, self._named, self._groups = call, late, dict(named), groups
        self._merged = False

    @property
    def statistics(self) -> Statistics:
        """What the norm does in inference."""
        norm: Any = self.norm
        return Statistics(norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.eps)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised result, of the layer's own shape and type."""
        if not self.training or self.frozen:
            weight, bias = self.folded()
            return self._run(x, self._quantized(weight), bias)
        found = self.statistics
        factor = torch.rsqrt(found.variance + found.epsilon)
        if found.weight is not None:
            factor = factor * found.weight
        small = torch.finfo(factor.dtype).tiny
        factor = torch.where(factor.abs() < small, torch.full_like(factor, small), factor)
        weight = self._quantized(self.weight * along_outputs(factor, self.weight, self._groups))
        bare = self._run(x, weight, None)
        shape = [1] * bare.ndim
        shape[1] = -1
        bare = bare / factor.reshape(shape)
        if self.bias is not None:
            bare = bare + self.bias.reshape(shape)
        result: Tensor = self.norm(bare)
        return result

    def train(self, mode: bool = True) -> NormedLayer:
        """Keep the norm in eval mode once it is frozen."""
        super().train(mode)
        if self.frozen:
            self.norm.eval()
        return self

    def freeze(self) -> None:
        """Let the statistics stay as they are from now on; γ and β are trained on."""
        self.frozen = True
        self.norm.eval()

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias with the norm in them, not quantized; gradients reach all four."""
        if self._merged:
            return self.weight, self.bias
        return fold(self.weight, self.bias, self.statistics, self._groups)

    @torch.no_grad()
    def load_folded(self, weight: Tensor, bias: Tensor | None) -> None:
        """Set the parameters so that `folded` gives these, up to rounding.

        The norm's statistics stay; a γ of 0 becomes √(σ² + ε), as no weight times 0 would give another one. Without a β
        the layer's own bias takes the shift.
        """
        found = self.statistics
        factor = found.factor
        if found.weight is not None and bool((factor == 0).any()):
            found.weight[factor == 0] = torch.sqrt(found.variance + found.epsilon)[factor == 0]
            factor = found.factor
        self.weight.copy_(weight.double() / along_outputs(factor, self.weight, self._groups))
        if bias is None:
            return
        if found.bias is not None:
            own = 0.0 if self.bias is None else self.bias.double()
            found.bias.copy_(bias.double() - (own - found.mean.double()) * factor)
            return
        own = (bias.double() / factor + found.mean.double()).to(self.weight.dtype)
        self.register_parameter("bias", nn.Parameter(own))

    def merge(self) -> None:
        """Put the norm into weight and bias for good."""
        weight, bias = self.folded()
        self.weight, self.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
        self._merged = True
        self.freeze()

    def _quantized(self, weight: Tensor) -> Tensor:
        return weight if self.quantizer is None else self.quantizer(weight)

    def _run(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self._call(x, weight, bias, *self._late, **self._named)
