"""From a scale to the dynamic range that TensorRT turns back into it."""

import numpy as np


def amax_of(scale: float) -> float:
    """Return the float32 amax whose 127th part, in float32, is this scale, as TensorRT computes it.

    Such an amax exists for every scale that was made by dividing one, which is every scale of a calibration. Of all
    float32 numbers one in 128 is no such quotient; it gets the amax whose scale is nearest, a last bit off.
    """
    wanted = np.float32(scale)
    guess = np.float32(np.float64(wanted) * 127)
    near = [np.nextafter(guess, np.float32(0)), guess, np.nextafter(guess, np.float32(np.inf))]
    return float(min(near, key=lambda amax: abs(float(np.float32(amax / np.float32(127))) - float(wanted))))


def is_exact(scale: float) -> bool:
    """Tell whether TensorRT gets exactly this scale from `amax_of(scale)`."""
    return bool(np.float32(np.float32(amax_of(scale)) / np.float32(127)) == np.float32(scale))
