"""How far the ranges found at one shape are from those found at another, or by another calibrator."""

from collections.abc import Mapping
from typing import Any, TypeAlias

Ranges: TypeAlias = Mapping[str, float]
"""amax > 0 by tensor."""


def across(found: Mapping[int, Ranges]) -> dict[str, Any]:
    """Return for each shape, by its side, how far any other's ranges go beyond its own."""
    return {f"{one} by {other}": beyond(found[one], found[other]) for one in found for other in found if one != other}


def beyond(here: Ranges, there: Ranges) -> dict[str, Any]:
    """Return of which share of the tensors of both `there` has the larger amax, and the largest ratio there / here."""
    ratios = {name: there[name] / amax for name, amax in here.items() if name in there}
    if not ratios:
        return {"tensors": 0}
    worst = max(ratios, key=ratios.__getitem__)
    share = sum(ratio > 1 for ratio in ratios.values()) / len(ratios)
    return {"tensors": len(ratios), "share": share, "worst_ratio": ratios[worst], "tensor": worst}


def gap(theirs: Ranges, ours: Ranges) -> dict[str, Any]:
    """Return the largest relative difference from `ours` over the tensors of both, and the tensors of one alone."""
    alone = {"tensorrt_alone": sorted({*theirs} - {*ours}), "quantlab_alone": sorted({*ours} - {*theirs})}
    away = {name: abs(theirs[name] / amax - 1) for name, amax in ours.items() if name in theirs}
    if not away:
        return {"tensors": 0, **alone}
    worst = max(away, key=away.__getitem__)
    return {"tensors": len(away), "worst_relative": away[worst], "tensor": worst, **alone}
