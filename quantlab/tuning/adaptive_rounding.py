"""Chooses the integers of a layer's weights by the layer's output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from quantlab.errors import UsageError
from quantlab.numerics.arrays import F64
from quantlab.tuning.bias_correction import with_mean_error_removed
from quantlab.tuning.layer import LEVELS, Corrected, Layer, computed, errors
from quantlab.tuning.rounding import Grid, least_squares


@dataclass(frozen=True, slots=True)
class AdaptiveRounding:
    """Integers that bring E‖y − (s·q x̂ + b)‖² to its least, y being FP32's output and x̂ the INT8 network's input.

    AdaRound's objective (Nagel et al. 2020, https://arxiv.org/abs/2004.10568) without gradient descent: regularised
    least squares moves the weights to where they make up for the errors of earlier layers, then they are rounded by
    the same quadratic form (`rounding.Grid`), and the bias follows. Each output channel takes the candidate whose
    error after the activation function is the least on held-out rows; rounding to nearest with a corrected bias is
    one of them.

    Attributes
    ----------
    strengths
        How strongly least squares holds on to the given weights, each > 0, in units of the inputs' mean square;
        infinity leaves them, so that only their rounding is chosen.
    damping
        Added to the form by which weights are rounded, > 0, in the same unit.
    shrink
        Scales to try, each in (0, 1], as multiples of a channel's largest weight / 127.
    """

    strengths: tuple[float, ...] = (float("inf"), 1.0, 0.1)
    damping: float = 0.01
    shrink: tuple[float, ...] = (1.0,)
    rows_an_input: int = 20

    def __post_init__(self) -> None:
        if not self.strengths or not all(strength > 0 for strength in self.strengths):
            raise UsageError(f"The strengths of adaptive rounding must be > 0, not {self.strengths}.")
        if not (self.damping > 0 and np.isfinite(self.damping)):
            raise UsageError(f"The damping of adaptive rounding must be finite and > 0, not {self.damping}.")
        if not self.shrink or not all(0 < factor <= 1 for factor in self.shrink):
            raise UsageError(f"The scales to try must be in (0, 1], not {self.shrink}.")

    def correct(self, layer: Layer) -> Corrected:
        """Return the best candidate of each output channel."""
        best = with_mean_error_removed(layer, Corrected.none(layer))
        least = errors(layer, computed(layer, best))
        for trial in self._candidates(layer):
            got = errors(layer, computed(layer, trial))
            best, least = trial.where(got < least, best), np.minimum(got, least)
        return best

    def _candidates(self, layer: Layer) -> Iterator[Corrected]:
        shape = (len(self.strengths), *layer.scale.shape)
        integers = np.empty((len(self.strengths), *layer.weights.shape))
        scale, bias = np.empty(shape), np.empty(shape)
        for group in range(len(layer.weights)):
            moments = _Moments.of(layer, group)
            grid = Grid.of(moments.second, self.damping)
            for i, strength in enumerate(self.strengths):
                wanted = least_squares(moments.second, moments.cross, layer.weights[group], strength)
                integers[i, group], scale[i, group] = self._rounded(grid, wanted, layer.scale[group])
                weights = integers[i, group] * scale[i, group][:, None]
                bias[i, group] = moments.bias(weights) if layer.adjustable else layer.bias[group]
        yield from map(Corrected, integers, scale, bias)

    def _rounded(self, grid: Grid, wanted: F64, scale: F64) -> tuple[F64, F64]:
        """Return integers and scales, the best of all `shrink` in each row."""
        largest = np.abs(wanted).max(axis=1)
        found, chosen, least = np.zeros_like(wanted), scale.copy(), np.full(len(wanted), np.inf)
        for factor in self.shrink:
            step = (factor * largest / LEVELS).astype(np.float32).astype(np.float64)
            step = np.where(step > 0, step, scale)  # a channel of zeros
            integers, sums = grid.rounded(wanted, step)
            better = sums < least
            found[better], chosen[better], least[better] = integers[better], step[better], sums[better]
        return found, chosen


@dataclass(frozen=True, slots=True, eq=False)
class _Moments:
    """Moments of the rows that fit: about the means where the bias can take these up, about zero otherwise."""

    second: F64
    cross: F64
    input_mean: F64
    target_mean: F64

    @classmethod
    def of(cls, layer: Layer, group: int) -> _Moments:
        fitted = ~layer.held_out
        x = layer.inputs[group][fitted].astype(np.float64)
        y = layer.targets[group][fitted].astype(np.float64)
        x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
        if not layer.adjustable:
            x_mean, y_mean = np.zeros_like(x_mean), layer.bias[group]
        x -= x_mean
        y -= y_mean
        return cls(x.T @ x / len(x), y.T @ x / len(x), x_mean, y_mean)

    def bias(self, weights: F64) -> F64:
        """Return the bias that leaves no mean error."""
        return np.asarray(self.target_mean - weights @ self.input_mean)
