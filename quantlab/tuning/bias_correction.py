"""Biases that take back the mean error of quantized weights and inputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlab.numerics.arrays import F32, F64
from quantlab.tuning.layer import Corrected, Layer, computed, errors

OUTSIDE = 0.05
"""Weight of a row whose value the activation function cuts off: it matters only if the error brings it back."""


@dataclass(frozen=True, slots=True)
class EmpiricalBias:
    """Adds the mean difference between FP32's output and INT8's, layer after layer, each on corrected inputs.

    The bias is b + E[y − (Ŵ x̂ + b)] (Nagel et al. 2019, https://arxiv.org/abs/1906.04721, appendix D), where rows
    that a Relu or Clip after the layer cuts off count little: an error there is never seen, and counting it in full
    shifts the values that are. Channels whose error on held-out rows it does not lower keep their bias.
    """

    rows_an_input: int = 0

    def correct(self, layer: Layer) -> Corrected:
        """Return weights rounded to nearest and the corrected bias."""
        return with_mean_error_removed(layer, Corrected.none(layer))


def with_mean_error_removed(layer: Layer, start: Corrected) -> Corrected:
    """Return `start` with the biases that the rows ask for, in the channels where held-out rows approve of it."""
    if not layer.adjustable:
        return start
    before = computed(layer, start)
    weights = row_weights(layer, before)
    fitted = ~layer.held_out
    trial = _shifted(start, mean_gap(layer.targets[:, fitted], before[:, fitted], weights[:, fitted]))
    better = errors(layer, computed(layer, trial)) < errors(layer, before)
    return _shifted(start, mean_gap(layer.targets, before, weights)).where(better, start)


def row_weights(layer: Layer, output: F32) -> F32:
    """Return what each row counts, float32[G, R, O]: 1 where the activation passes it on, or the error may make it."""
    low, high = layer.bounds
    reach = (layer.targets - output).std(axis=1, keepdims=True)
    inside = (layer.targets > low - reach) & (layer.targets < high + reach)
    return np.where(inside, np.float32(1), np.float32(OUTSIDE))


def mean_gap(target: F32, output: F32, weights: F32) -> F64:
    """Return the mean of target − output over rows of these weights, [G, R, O] each: float64[G, O]."""
    gap = (weights * (target - output)).sum(axis=1, dtype=np.float64)
    return np.asarray(gap / weights.sum(axis=1, dtype=np.float64))


def _shifted(corrected: Corrected, shift: F64) -> Corrected:
    return Corrected(corrected.integers, corrected.scale, corrected.bias + shift)
