"""The largest magnitude of each channel of activations: what equalization and smoothing balance by."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from quantlab import engines
from quantlab.data.batch import Dataset
from quantlab.errors import InputError
from quantlab.graph.model import Model
from quantlab.numerics.arrays import F32


def channel_peaks(
    model: Model, axes: Mapping[str, int], data: Dataset, *, samples: int = 256, threads: int | None = None
) -> dict[str, F32]:
    """Return max|x| of each channel, float32 [channels], of the tensors in `axes` (tensor → axis of channels).

    Raises
    ------
    InputError
        NaN or infinity in a tensor.
    """
    found: dict[str, F32] = {}
    if not axes:
        return found
    seen = 0
    with engines.ort(model, expose=tuple(axes), threads=threads) as engine:
        for given in data:
            batch = given.bind(list(engine.inputs))
            for name, values in engine.run(batch).items():
                axis = axes[name] % values.ndim
                others = tuple(i for i in range(values.ndim) if i != axis)
                peak = np.abs(values).max(axis=others, initial=0.0).astype(np.float32)
                if not np.isfinite(peak).all():
                    raise InputError(f"Tensor «{name}» holds NaN or infinity: leave the sample that makes it out.")
                found[name] = np.maximum(found[name], peak) if name in found else peak
            seen += batch.samples
            if seen >= samples:
                break
    return found
