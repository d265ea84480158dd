"""Layers with rows that need no network."""

from __future__ import annotations

import numpy as np

from quantlab.numerics.arrays import F32
from quantlab.tuning.layer import Layer

RANDOM_ROWS = 900


def layer(
    *,
    noise: float = 0.0,
    adjustable: bool = True,
    groups: int = 1,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    coarse: float = 7.0,
    seed: int = 0,
) -> Layer:
    """Return a layer on correlated inputs that hold `noise` times their spread of earlier errors.

    Its weights are on a grid of 2·`coarse` + 1 steps, much coarser than INT8.
    """
    random = np.random.default_rng(seed)
    mix = random.normal(size=(groups, 5, 12))
    exact = random.normal(size=(groups, RANDOM_ROWS, 5)) @ mix + 0.7
    weights, bias = random.normal(size=(groups, 6, 12)), random.normal(size=(groups, 6))
    targets: F32 = (exact @ weights.transpose(0, 2, 1) + bias[:, None]).astype(np.float32)
    seen: F32 = (exact + noise * exact.std() * random.normal(size=exact.shape)).astype(np.float32)
    scale = (np.abs(weights).max(axis=2) / coarse).astype(np.float32).astype(np.float64)
    held = np.arange(RANDOM_ROWS) % 4 == 3
    if not adjustable:
        targets, bias = (targets - bias[:, None].astype(np.float32)), np.zeros_like(bias)
    return Layer(weights, scale, bias, adjustable, seen, targets, held, bounds)
