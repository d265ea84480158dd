"""One weighted operator with what was seen at it: rows of its INT8 input, and what FP32 makes of the same samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from quantlab.numerics.affine import QuantParams, quantize
from quantlab.numerics.arrays import F32, F64, AnyArray
from quantlab.numerics.error_sums import decibels

LEVELS = 127
"""Largest integer of a weight; −128 is left out, so that the grid is symmetric."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """What a correction may look at. G groups, O outputs and K inputs of each, R rows.

    Attributes
    ----------
    weights
        float64[G, O, K], of the float model.
    scale
        float64[G, O], each a float32: the step of each output channel before any correction.
    bias
        float64[G, O].
    adjustable
        Whether the bias can be changed; else there is none.
    inputs
        float32[G, R, K]: rows of what the operator reads.
    targets
        float32[G, R, O]: what FP32 has in these rows, bias included, before the activation function.
    held_out
        bool[R]: rows that judge a correction and do not fit it; not all.
    bounds
        Between which values the activation function passes its input on; ±infinity without a Relu or Clip.
    """

    weights: F64
    scale: F64
    bias: F64
    adjustable: bool
    inputs: F32
    targets: F32
    held_out: AnyArray
    bounds: tuple[float, float] = (-np.inf, np.inf)

    @property
    def nearest(self) -> F64:
        """The weights rounded to nearest, as integers, float64[G, O, K]."""
        return nearest(self.weights, self.scale)

    @property
    def judged(self) -> AnyArray:
        """The rows that judge: those held out or, if there are none, all."""
        return self.held_out if self.held_out.any() else ~self.held_out


@dataclass(frozen=True, slots=True, eq=False)
class Corrected:
    """New integers and scales of a layer's weights, and its new bias.

    Attributes
    ----------
    integers
        float64[G, O, K], whole numbers within ±127 (−128 where rounding to nearest gives it).
    scale
        float64[G, O], each a float32, > 0.
    bias
        float64[G, O].
    """

    integers: F64
    scale: F64
    bias: F64

    @classmethod
    def none(cls, layer: Layer) -> Corrected:
        """Round to nearest and leave the bias."""
        return cls(layer.nearest, layer.scale, layer.bias)

    @property
    def weights(self) -> F32:
        """The values that the integers stand for, float32[G, O, K], as DequantizeLinear computes them."""
        return np.asarray(self.integers.astype(np.float32) * self.scale.astype(np.float32)[..., None])

    def where(self, chosen: AnyArray, other: Corrected) -> Corrected:
        """Return these outputs where `chosen`, bool[G, O], and those of `other` elsewhere."""
        return Corrected(
            np.where(chosen[..., None], self.integers, other.integers),
            np.where(chosen, self.scale, other.scale),
            np.where(chosen, self.bias, other.bias),
        )


class Correction(Protocol):
    """Chooses the integers and bias of a layer."""

    @property
    def rows_an_input(self) -> int:
        """How many rows it wants for each input K of a layer; a few thousand there are anyway."""
        ...

    def correct(self, layer: Layer) -> Corrected:
        """Return the choice for one layer."""
        ...


def nearest(weights: F64, scale: F64) -> F64:
    """Return weights float64[G, O, K] rounded to nearest at the scales float64[G, O], as integers."""
    flat = weights.reshape(-1, weights.shape[2]).astype(np.float32)
    params = QuantParams(scale.ravel().astype(np.float32), np.zeros(len(flat), np.int64), "int8", 0)
    return quantize(flat, params).astype(np.float64).reshape(weights.shape)


def computed(layer: Layer, corrected: Corrected) -> F32:
    """Return the layer's output with corrected weights and bias, before the activation function: float32[G, R, O]."""
    turned = corrected.weights.transpose(0, 2, 1)
    return np.asarray(np.matmul(layer.inputs, turned) + corrected.bias[:, None].astype(np.float32))


def errors(layer: Layer, output: F32) -> F64:
    """Return the summed squared error after the activation function in the rows that judge, float64[G, O]."""
    gap = _activated(layer, output[:, layer.judged]) - _activated(layer, layer.targets[:, layer.judged])
    return np.asarray(np.square(gap, dtype=np.float64).sum(axis=1))


def sqnr_db(layer: Layer, output: F32) -> float:
    """Return the layer's signal-to-noise ratio after the activation function in the rows that judge, in dB."""
    signal = np.square(_activated(layer, layer.targets[:, layer.judged]), dtype=np.float64).sum()
    return decibels(float(signal), float(errors(layer, output).sum()))


def _activated(layer: Layer, output: F32) -> F32:
    low, high = layer.bounds
    return output if (low, high) == (-np.inf, np.inf) else np.clip(output, np.float32(low), np.float32(high))
