"""Scales of activations, chosen by what they do to the next layer instead of to the tensor itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from quantlab.calibration.ranges import Range
from quantlab.calibration.scale_table import Scale
from quantlab.errors import UsageError
from quantlab.numerics.affine import QuantParams, fake_quantize
from quantlab.tuning.bias_correction import mean_gap, row_weights
from quantlab.tuning.layer import Layer, errors

_ROWS = 4000  # enough for one number
_WORTH = 0.98  # the share of the error that must be left at most: less is chance


@dataclass(frozen=True, slots=True)
class ActivationScales:
    """Tries multiples of a quantizer's scale and takes the one with the least error of the operator that reads it.

    The error is ‖y − (W x̂(s) + b)‖² after the activation function, with the mean error taken out as bias correction
    will do, relative to ‖y‖²; each further reader adds the tensor's own relative error.

    Attributes
    ----------
    multipliers
        What to try beside 1, each finite and > 0.
    """

    multipliers: tuple[float, ...] = (0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.05, 1.1)

    def __post_init__(self) -> None:
        if not all(0 < factor < np.inf for factor in self.multipliers):
            raise UsageError(f"The multipliers of activation scales must be finite and > 0, not {self.multipliers}.")

    def choose(self, params: QuantParams, layer: Layer, *, others: int = 0) -> float:
        """Return the best multiplier for a quantizer whose scale is `params`; 1 where nothing is 2 % better.

        `layer` has the inputs before they are quantized; `others` is the number of further readers.
        """
        step = max(1, layer.inputs.shape[1] // _ROWS)
        inputs, targets = layer.inputs[:, ::step], layer.targets[:, ::step]
        layer = replace(layer, inputs=inputs, targets=targets, held_out=np.ones(inputs.shape[1], bool))
        trials = [(self._cost(scaled(params, factor), layer, others), factor) for factor in (1.0, *self.multipliers)]
        best, factor = min(trials, key=lambda trial: trial[0])
        return factor if best < _WORTH * trials[0][0] else 1.0

    def _cost(self, params: QuantParams, layer: Layer, others: int) -> float:
        inputs = fake_quantize(layer.inputs, params)
        weights = layer.weights.astype(np.float32).transpose(0, 2, 1)
        output = np.matmul(inputs, weights) + layer.bias[:, None].astype(np.float32)
        if layer.adjustable:
            output += mean_gap(layer.targets, output, row_weights(layer, output))[:, None].astype(np.float32)
        cost = errors(layer, output).sum() / max(_energy(layer.targets[:, layer.judged]), 1e-30)
        own = _energy(layer.inputs - inputs) / max(_energy(layer.inputs), 1e-30) if others else 0.0
        return float(cost + others * own)


def scaled(params: QuantParams, factor: float) -> QuantParams:
    """Return the parameters with a scale `factor` times as large, rounded to float32."""
    scale = np.asarray(params.scale.astype(np.float64) * factor, np.float32)
    return replace(params, scale=scale)


def scaled_row(row: Scale, factor: float) -> Scale:
    """Return a table row with its scale times `factor`; what was measured of the old scale is left out."""
    scale = tuple(scaled(row.params, factor).scale.reshape(-1).astype(float).tolist())
    chosen = Range(row.chosen.low * factor, row.chosen.high * factor) if row.chosen else None
    method = f"{row.method}, × {factor:g} by the next layer's error"
    return replace(row, scale=scale, chosen=chosen, method=method, clipped=None, sqnr_db=None)


def _energy(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
    return float(np.square(values, dtype=np.float64).sum())
