"""The largest magnitude of each channel of activations: what equalization and smoothing balance by."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from quantlab import engines
from quantlab.comparison.fixed_batch import cut, filled, fixed_rows
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
        size = fixed_rows(engine)
        for batch, _ in cut(((given.bind(list(engine.inputs)), None) for given in data), size):
            short = size is not None and batch.rows is not None and batch.rows < size
            for name, values in engine.run(
                filled(batch, size) if short and size else batch
            ).items():  # a peak twice is no more
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
