"""How the weight of a node of the ONNX model follows from a module's: turned round, and times a factor a channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from quantlab.errors import InputError
from quantlab.graph.view import Graph, attribute, operator
from quantlab.numerics.arrays import F32, F64

_CLOSE = 1e-5
"""Largest difference, relative to a channel's largest magnitude: exporters fold BatchNorm in float32."""


@dataclass(frozen=True, slots=True)
class ModuleWeight:
    """A module's weight in a node.

    Attributes
    ----------
    tensor
        Its name in the normalised ONNX model.
    shape
        Its shape there.
    transposed
        Whether the two axes of a Linear's weight are exchanged.
    channels
        Axis of the module's weight that its outputs go along.
    factors
        Float32, one an output channel: a folded BatchNorm's γ/√(σ² + ε), by which the module's weight is multiplied;
        exactly 1 where nothing was folded.
    dead
        For each axis of the module's weight, which of its channels hold zeros alone.
    """

    tensor: str
    shape: tuple[int, ...]
    transposed: bool
    channels: int
    factors: F32
    dead: tuple[NDArray[np.bool_], ...]

    @property
    def axis(self) -> int:
        """Axis of the ONNX weight that the outputs go along."""
        return 1 - self.channels if self.transposed else self.channels

    @property
    def is_unchanged(self) -> bool:
        """Whether every factor is 1."""
        return bool((self.factors == 1).all())


def module_weight(graph: Graph, node: onnx.NodeProto, index: int, weight: F32) -> ModuleWeight:
    """Return how input `index` of a weighted node follows from a module's weight.

    Raises
    ------
    InputError
        When it does not.
    """
    name = node.input[index]
    stored = graph.constant(name)
    channels = 1 if operator(node) == "ConvTranspose" else 0
    straight = operator(node) in {"Conv", "ConvTranspose"} or bool(attribute(node, "transB", 0))
    for transposed in (not straight, straight):
        if stored is None or (transposed and weight.ndim != 2):
            continue
        found = stored.T if transposed else stored
        factors = _factors(weight, np.asarray(found, np.float32), channels)
        if factors is not None:
            axes = range(weight.ndim)
            dead = tuple(np.asarray(~weight.any(axis=tuple(i for i in axes if i != axis))) for axis in axes)
            return ModuleWeight(name, stored.shape, transposed, channels, factors, dead)
    raise InputError(f"its weight is not that of «{name}» in the ONNX model, times a factor a channel")


def _factors(weight: F32, stored: F32, channels: int) -> F32 | None:
    if weight.shape != stored.shape:
        return None
    ours, theirs = (_rows(each, channels) for each in (weight, stored))
    place = np.abs(ours).argmax(axis=1)[:, None]
    peaks = np.take_along_axis(ours, place, 1)[:, 0]
    factors = np.divide(np.take_along_axis(theirs, place, 1)[:, 0], peaks, out=np.ones_like(peaks), where=peaks != 0)
    off = np.abs(theirs - ours * factors[:, None]).max(axis=1)
    largest = np.abs(theirs).max(axis=1)
    return factors.astype(np.float32) if (off <= _CLOSE * largest).all() else None


def _rows(weight: F32, channels: int) -> F64:
    return np.moveaxis(weight, channels, 0).reshape(weight.shape[channels], -1).astype(np.float64)
