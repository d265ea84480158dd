"""Checks of a cache against its network: names, scales of equal values, ranges that the operators exclude."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from quantlab.caches.grid import entropy_bins
from quantlab.caches.lint_lines import about
from quantlab.caches.network import CacheNetwork
from quantlab.graph.finding import Finding, Severity
from quantlab.graph.view import operator
from quantlab.numerics.divergence import LEVELS
from quantlab.numerics.tensorrt_histogram import BINS

_OWN = "(Unnamed Layer*"
"""How keys begin that TensorRT invents for tensors of its own."""

_LISTED = 4
_SLACK = 2.0  # inputs may have been clipped, so their sum may be exceeded
_WIDER = 1.01
_SAME_MAXIMUM = frozenset({"Clip", "Concat", "LeakyRelu", "Max", "PRelu", "Relu"})
_SUSPICIOUS = 3  # tensors of other values with one scale


def check_names(keys: Mapping[str, float], network: CacheNetwork, *, missing: Severity = "error") -> Iterator[Finding]:
    """Check that each tensor has a scale where a kernel needs one, and each key a tensor.

    `missing` is how grave it is where a kernel lacks one: a note where it is to stay float.
    """
    scales = network.scales(keys)
    stale = [key for key in keys if key not in network.known and key not in network.aliases and not _invented(key)]
    known = len(keys) - len(stale)
    if stale and len(stale) > known:
        message = f"The model has {known} of its {len(keys)} tensors only; it lacks {listed(stale)}."
        yield about(
            "error", "other-model", "", message, "It was made for another model, or before a re-export: `cache rename`."
        )
    else:
        for key in stale:
            yield about("warning", "stale", key, "The model has no such tensor.", "Take it out, or `cache rename` it.")
    inside, elsewhere = [], []
    for tensor in network.tensors.tensors:
        if tensor in scales or network.root(tensor) in scales:
            continue
        if tensor in network.inner:
            inside.append(tensor)
        elif tensor in network.needed:
            message = "It has no scale, and an INT8 kernel reads it: TensorRT runs that layer in float without a word."
            yield about(
                missing, "missing", tensor, message, "Calibrate it, or `cache rename` a cache of another export."
            )
        else:
            elsewhere.append(tensor)
    if elsewhere:
        message = f"{counted(elsewhere)} without a scale: {listed(elsewhere)}. What reads or writes them runs in float."
        yield about("warning", "uncovered", "", message, "Calibrate them if that is not meant.")
    if inside:
        message = f"{counted(inside)} inside kernels without a scale: {listed(inside)}. Nobody reads them."
        yield about("note", "fused", "", message, "Nothing needs to be done.")


def check_scales(scales: Mapping[str, float], network: CacheNetwork) -> Iterator[Finding]:
    """Check scales, by the names of `network.graph`, against each other along the operators."""
    for node, tensor, output in (*network.passes(), *network.joins()):
        one, two = scales.get(tensor), scales.get(output)
        if one is None or two is None or _bits(one) == _bits(two):
            continue
        message = f"{node.op_type} passes values of «{tensor}» on to it, but their scales are {one:.6g} and {two:.6g} "
        message += f"(×{two / one:.3g})."
        yield about("warning", "conflict", output, message, "Give both the larger one, or they are rounded twice.")
    yield from _ranges(scales, network)


def check_shared(scales: Mapping[str, float], network: CacheNetwork | None) -> Iterator[Finding]:
    """Check for one scale at many tensors of different values: a default that somebody filled in."""
    groups: dict[bytes, list[str]] = {}
    for tensor, scale in scales.items():
        groups.setdefault(_bits(scale), []).append(tensor)
    families = None if network is None else _families(network)
    for tensors in groups.values():
        apart = tensors if families is None else list({families.get(t, t): t for t in tensors}.values())
        scale = scales[tensors[0]]
        if len(apart) < (_SUSPICIOUS if network is not None else max(_SUSPICIOUS, len(scales) // 2)):
            continue
        message = f"{len(apart)} tensors of different values have the scale {scale:.6g}: {listed(apart)}."
        yield about("warning", "shared", "", message, "Look whether a default was filled in; calibrate them.")


def check_ceilings(scales: Mapping[str, float], network: CacheNetwork) -> Iterator[Finding]:
    """Note where the entropy search kept all bins, and warn where it ended at its very first candidate."""
    whole = []
    for tensor, bound in network.bounds.items():
        kept = entropy_bins(scales[tensor] * 127, bound) if tensor in scales else None
        if kept is None or network.root(tensor) != tensor:
            continue
        if kept >= BINS - 1:
            whole.append(tensor)
        elif kept == LEVELS:
            message = f"The entropy search kept {kept} of {BINS} bins, its first candidate: it clips at {bound * kept / BINS:.4g} of {bound:g}."
            yield about(
                "warning", "floor", tensor, message, "Compare with squared-error; zeros may have led the search."
            )
    if whole:
        message = f"At {counted(whole)} the entropy search kept every bin, so nothing is clipped: {listed(whole)}."
        yield about("note", "ceiling", "", message, "Nothing needs to be done.")


def listed(names: list[str]) -> str:
    """Return the first few of many names."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(f"«{name}»" for name in names[:_LISTED]) + more


def counted(names: list[str]) -> str:
    """Return «1 tensor» or «3 tensors»."""
    return f"{len(names)} tensor{'' if len(names) == 1 else 's'}"


def _invented(key: str) -> bool:
    return key.startswith(_OWN)


def _ranges(scales: Mapping[str, float], network: CacheNetwork) -> Iterator[Finding]:
    for tensor, scale in scales.items():
        bound = network.bounds.get(tensor)
        if bound is not None and scale * 127 > bound * _WIDER:
            message = f"It reaches {scale * 127:.4g}, but {_by(network, tensor)} ends its values at {bound:g}."
            yield _too_wide(tensor, message)
    for node in network.graph.nodes:
        limit = _SLACK * _limit(operator(node), [scales.get(name) for name in node.input])
        output = node.output[0] if node.output else ""
        if output in scales and output not in network.bounds and scales[output] > limit > 0:
            message = f"It reaches {scales[output] * 127:.4g}, which {node.op_type} cannot make of its inputs: "
            message += f"they allow {limit / _SLACK * 127:.4g}."
            yield _too_wide(output, message)


def _limit(kind: str, inputs: list[float | None]) -> float:
    """Return the largest scale of an output whose inputs have these scales; infinite where nothing follows."""
    known = [scale for scale in inputs if scale is not None]
    data_only = (
        inputs[:1] if kind in ("Relu", "Clip", "LeakyRelu", "AveragePool", "GlobalAveragePool", "ReduceMean") else None
    )
    if data_only is not None:
        return data_only[0] if data_only and data_only[0] is not None else float("inf")
    if kind in ("Add", "Sum", "Sub") and inputs and len(known) == len(inputs):
        return sum(known)
    if kind in ("Max", "Min") and inputs and len(known) == len(inputs):
        return max(known)
    return float("inf")


def _too_wide(tensor: str, message: str) -> Finding:
    return about("warning", "too-wide", tensor, message, "Calibrate it: most of the 127 steps are wasted.")


def _by(network: CacheNetwork, tensor: str) -> str:
    node = network.graph.producer(network.root(tensor))
    return "the network" if node is None else node.op_type


def _families(network: CacheNetwork) -> dict[str, str]:
    """Return tensor → one name for all whose largest magnitudes may well be the same."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.get(name, name) != name:
            name = leader[name]
        return name

    graph = network.graph
    for node in graph.nodes:
        if operator(node) in _SAME_MAXIMUM:
            for name in node.input:
                if name and not graph.is_constant(name):
                    leader[find(name)] = find(node.output[0])
    for _, tensor, output in network.passes():
        leader[find(tensor)] = find(output)
    return {tensor: str(network.bounds.get(tensor, find(tensor))) for tensor in graph.tensors()}


def _bits(scale: float) -> bytes:
    return struct.pack("!f", scale)
