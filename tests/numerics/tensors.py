"""Tensors to test with: any float32 for the laws, the shapes of real activations for the measurements."""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quantlab.numerics.arrays import F32

law = settings(max_examples=60, deadline=None)
"""Laws compile a kernel on their first example, which no deadline allows for."""

LARGEST = float(np.finfo(np.float32).max)
SPECIAL = (
    0.0,
    -0.0,
    2.0**-149,
    float(np.nextafter(np.float32(2.0**-135), np.float32(0))),
    2.0**-135,
    2.0**-126,
    float(np.nextafter(np.float32(1), np.float32(0))),
    1.0,
    -1.0,
    6.0,
    1 + 2.0**-9,
    LARGEST,
    -LARGEST,
)


def f32(*values: float) -> F32:
    """A tensor of these values."""
    return np.array(values, np.float32)


def tensors(elements: st.SearchStrategy[float], *, least: int = 0, most: int = 60) -> st.SearchStrategy[F32]:
    """One-dimensional float32 arrays."""
    return arrays(np.float32, st.integers(least, most), elements=elements)


finite = tensors(st.one_of(st.floats(width=32, allow_nan=False, allow_infinity=False), st.sampled_from(SPECIAL)))
anything = tensors(st.one_of(st.floats(width=32), st.sampled_from(SPECIAL)))
ordinary = tensors(
    st.builds(lambda m, e: float(np.ldexp(m, e)), st.integers(-(2**24) + 1, 2**24 - 1), st.integers(-30, -14)), least=1
)
"""Magnitudes 2**-30 … 2**10, or 0: far enough from both ends of float32 to be multiplied by powers of two."""


def _silu(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(x / (1 + np.exp(-x)))


def _with_outlier(x: np.ndarray[Any, Any], value: float) -> np.ndarray[Any, Any]:
    x[0] = value
    return x


ACTIVATIONS: dict[str, Callable[[np.random.Generator, int], np.ndarray[Any, Any]]] = {
    "gauss": lambda rng, n: rng.standard_normal(n),
    "laplace with an outlier of 40": lambda rng, n: _with_outlier(rng.laplace(size=n), 40.0),
    "relu, 69 % zeros": lambda rng, n: np.maximum(rng.standard_normal(n) - 0.5, 0),
    "relu, 99.4 % zeros": lambda rng, n: np.maximum(rng.standard_normal(n) - 2.5, 0),
    "silu": lambda rng, n: _silu(3 * rng.standard_normal(n)),
    "relu6": lambda rng, n: np.clip(3 * rng.standard_normal(n), 0, 6),
    "uniform": lambda rng, n: rng.uniform(-3, 5, n),
    "far from zero": lambda rng, n: rng.uniform(9, 10, n),
    "negative": lambda rng, n: -rng.gamma(2.0, size=n),
}


def activation(name: str, size: int = 20_000, *, seed: int = 0) -> F32:
    """Draw one of `ACTIVATIONS`."""
    return ACTIVATIONS[name](np.random.default_rng(seed), size).astype(np.float32)
