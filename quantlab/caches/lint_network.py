"""Checks of a cache against its network: names, and one scale at many tensors."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from quantlab.caches.lint_lines import about
from quantlab.caches.network import CacheNetwork
from quantlab.caches.words import counted, listed
from quantlab.graph.finding import Finding, Severity
from quantlab.graph.view import operator

_OWN = "(Unnamed Layer*"
"""How keys begin that TensorRT invents for tensors of its own."""

_SAME_MAXIMUM = frozenset({"Clip", "Concat", "LeakyRelu", "Max", "PRelu", "Relu"})
_SUSPICIOUS = 3  # tensors of other values with one scale
_RELU6 = 6.0  # without the model, what many networks have at half of their tensors


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
        message = f"{counted(len(elsewhere), 'tensor')} without a scale: {listed(elsewhere)}. What reads or writes them runs in float."
        yield about("warning", "uncovered", "", message, "Calibrate them if that is not meant.")
    if inside:
        message = (
            f"{counted(len(inside), 'tensor')} inside kernels without a scale: {listed(inside)}. Nobody reads them."
        )
        yield about("note", "fused", "", message, "Nothing needs to be done.")


def check_shared(scales: Mapping[str, float], network: CacheNetwork | None) -> Iterator[Finding]:
    """Check for one scale at many tensors of different values: a default that somebody filled in."""
    groups: dict[bytes, list[str]] = {}
    for tensor, scale in scales.items():
        groups.setdefault(_bits(scale), []).append(tensor)
    families = None if network is None else _families(network)
    for tensors in groups.values():
        apart = tensors if families is None else list({families.get(t, t): t for t in tensors}.values())
        scale = scales[tensors[0]]
        if network is None and abs(scale * 127 - _RELU6) < 1e-3 * _RELU6:
            continue
        if len(apart) < (_SUSPICIOUS if network is not None else max(_SUSPICIOUS, len(scales) // 2)):
            continue
        message = f"{len(apart)} tensors of different values have the scale {scale:.6g}: {listed(apart)}."
        yield about("warning", "shared", "", message, "Look whether a default was filled in; calibrate them.")


def _invented(key: str) -> bool:
    return key.startswith(_OWN)


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
