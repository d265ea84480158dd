"""Floats as text that reads back to the same bits."""

import struct

import numpy as np

SPELLED = ("nan", "inf", "-inf")
"""How values are written that JSON has no number for."""


def nearest_float32(value: float) -> float:
    """Return the float32 nearest to a decimal number; infinite beyond float32's range."""
    with np.errstate(over="ignore", under="ignore"):
        return float(np.float32(value))


def float32_digits(value: float) -> str:
    """Return a float32's bits as eight hex digits, big-endian, as a TensorRT calibration cache has them."""
    return struct.pack("!f", value).hex()


def json_float(value: float | None) -> float | str | None:
    """Return a JSON value: the shortest decimal that is exact, or the name of what is no number."""
    if value is None:
        return None
    text = repr(float(value))
    return text if text in SPELLED else float(value)
