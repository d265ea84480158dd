"""Rounds matrices to a grid so that what they compute changes least, not what they hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular
from typing_extensions import Self

from quantlab.numerics.arrays import F64, AnyArray

_LEVELS = 127.0
_SWEEPS = 50  # coordinate descent ends by itself long before
_LEAST_GAIN = 1e-9  # of the error of one step: below it rounding errors might move an integer to and fro


def least_squares(second: F64, cross: F64, weights: F64, strength: float) -> F64:
    """Return the weights that bring ŵᵀHŵ − 2 gᵀŵ + λ‖ŵ − w‖² to its least: (g + λw)(H + λI)⁻¹, float64[O, K].

    Parameters
    ----------
    second
        H, float64[K, K], symmetric and positive semi-definite: second moments of the inputs.
    cross
        g, float64[O, K]: moments of wanted output and inputs.
    weights
        w, float64[O, K].
    strength
        λ > 0 as a multiple of H's mean diagonal; infinity returns w.
    """
    step = strength * float(np.trace(second)) / len(second)
    if step <= 0 or not np.isfinite(step):
        return weights.copy()
    system = second + step * np.eye(len(second))
    return np.asarray(cho_solve(cho_factor(system, lower=True), (cross + step * weights).T).T)


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The quadratic form by which errors of one row of weights are measured, ready for rounding.

    Attributes
    ----------
    order
        int64[K]: the inputs in the order of rounding, the largest diagonal first.
    system
        A in that order, float64[K, K], positive definite.
    upper
        U with A⁻¹ = UᵀU, upper triangular.
    """

    order: AnyArray
    system: F64
    upper: F64

    @classmethod
    def of(cls, second: F64, damping: float) -> Self:
        """Return the form A = H + δI, δ = `damping` > 0 times H's mean diagonal (1 if H is zero)."""
        mean = float(np.trace(second)) / len(second)
        system = second + damping * (mean if mean > 0 else 1.0) * np.eye(len(second))
        order = np.argsort(-np.diag(system), kind="stable")
        turned = np.ascontiguousarray(system[np.ix_(order, order)])
        # A factor of the reversed matrix, reversed, is upper: A = VVᵀ, and U = V⁻¹.
        factor = cholesky(turned[::-1, ::-1], lower=True)
        inverse = solve_triangular(factor, np.eye(len(second)), lower=True)
        return cls(order, turned, np.ascontiguousarray(inverse[::-1, ::-1]))

    def rounded(self, wanted: F64, scale: F64) -> tuple[F64, F64]:
        """Return integers q within ±127 for which each row's (w − s·q)ᵀA(w − s·q) is small, and these sums.

        Numbers are rounded one after the other, and each error is passed on to those still open (Frantar et al.
        2022, https://arxiv.org/abs/2210.17323; the same as Babai's nearest plane). Then single integers move while
        that lowers the sum. Rounding to nearest is a second start, so that the end is never worse than it.

        Parameters
        ----------
        wanted
            w, float64[O, K].
        scale
            s, float64[O], > 0.

        Returns
        -------
        tuple
            float64[O, K] and float64[O].
        """
        goal = np.ascontiguousarray(wanted[:, self.order])
        planes = _nearest_plane(goal, self.upper, scale)
        nearest = np.clip(np.rint(goal / scale[:, None]), -_LEVELS, _LEVELS)
        one, other = _descend(goal, self.system, scale, planes), _descend(goal, self.system, scale, nearest)
        found = np.empty_like(goal)
        found[:, self.order] = np.where((one <= other)[:, None], planes, nearest)
        return found, np.minimum(one, other)


@njit(nogil=True, cache=True)
def _nearest_plane(wanted: AnyArray, upper: AnyArray, scale: AnyArray) -> AnyArray:
    outputs, size = wanted.shape
    found = np.empty((outputs, size))
    left = np.empty(size)
    for o in range(outputs):
        left[:] = wanted[o]
        for k in range(size):
            found[o, k] = min(max(np.rint(left[k] / scale[o]), -_LEVELS), _LEVELS)
            error = (left[k] - scale[o] * found[o, k]) / upper[k, k]
            for j in range(k, size):
                left[j] -= error * upper[k, j]
    return found


@njit(nogil=True, cache=True)
def _descend(wanted: AnyArray, system: AnyArray, scale: AnyArray, integers: AnyArray) -> AnyArray:
    """Move single integers, in place, while the sum of a row falls; return the sums."""
    outputs, size = wanted.shape
    sums = np.empty(outputs)
    for o in range(outputs):
        gap = wanted[o] - scale[o] * integers[o]
        slope = np.dot(system, gap)
        for _ in range(_SWEEPS):
            moved = False
            for k in range(size):
                unit = scale[o] * scale[o] * system[k, k]
                wish = integers[o, k] + np.rint(slope[k] * scale[o] / unit)
                steps = min(max(wish, -_LEVELS), _LEVELS) - integers[o, k]
                if 2.0 * steps * scale[o] * slope[k] - steps * steps * unit <= _LEAST_GAIN * steps * steps * unit:
                    continue
                integers[o, k] += steps
                gap[k] -= steps * scale[o]
                for j in range(size):
                    slope[j] -= steps * scale[o] * system[k, j]
                moved = True
            if not moved:
                break
        sums[o] = np.dot(gap, slope)
    return sums
