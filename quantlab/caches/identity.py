"""Whether a Q/DQ model has the very scales of a cache, bit for bit."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from quantlab.graph.model import Model
from quantlab.graph.qdq_view import read_scales


@dataclass(frozen=True, slots=True)
class ScaleIdentity:
    """The activations with Q/DQ that have the cache's own scale; those that have another (cache's, model's); those it lacks."""

    same: tuple[str, ...]
    other: Mapping[str, tuple[float, float]]
    unknown: tuple[str, ...]


def scale_identity(scales: Mapping[str, float], quantized: Model) -> ScaleIdentity:
    """Compare scales, by the names of the normalised model, with those of a Q/DQ model made of it.

    What a Concat joins has the widest of its scales, so `other` need not be empty.

    Raises
    ------
    InputError
        A scale that is computed, or integers other than INT8 and UINT8.
    """
    same, other, unknown = [], {}, []
    for row in read_scales(quantized.proto):
        if row.role == "weight":
            continue
        mine, theirs = scales.get(row.tensor), row.scale[0]
        if mine is None:
            unknown.append(row.tensor)
        elif _bits(mine) == _bits(theirs):
            same.append(row.tensor)
        else:
            other[row.tensor] = mine, theirs
    return ScaleIdentity(tuple(same), other, tuple(unknown))


def _bits(scale: float) -> bytes:
    return struct.pack("!f", scale)
