"""Checks of a cache's scales along the operators: two for the same values, and ranges that an operator excludes."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

import onnx

from quantlab.caches.lint_lines import about
from quantlab.caches.network import CacheNetwork
from quantlab.caches.words import counted, listed
from quantlab.graph.finding import Finding
from quantlab.graph.view import operator

_DROPS = frozenset({"Gather", "GlobalMaxPool", "Resize", "Slice", "Split"})
"""Operators that may leave the largest values out; of MaxPool's input, TensorRT's calibrators take the scale."""

_BIT = 2.0  # between scales of the same values: one of the eight bits, or half the range, is lost
_GRID = 2.001  # a grid whose width doubled in calibration ends below twice the largest value
_WIDER = 1.01
_SLACK = 2.0  # inputs may have been clipped, so their sum may be exceeded
_FIRST_ONLY = frozenset({"AveragePool", "Clip", "GlobalAveragePool", "LeakyRelu", "ReduceMean", "Relu"})


def check_scales(
    scales: Mapping[str, float], network: CacheNetwork, *, dla: bool = False, exact: bool = False
) -> Iterator[Finding]:
    """Check scales, by the names of `network.graph`, against each other along the operators.

    GPUs rescale where an operator joins or drops values, so a narrower side is no fault there. A DLA does not: it runs a
    Concat only where all inputs and the output have one range (TensorRT's developer guide, DLA layer restrictions).

    Parameters
    ----------
    dla
        Whether a DLA is to run the network.
    exact
        Whether the calibrator keeps maxima (MinMax); others may end at the end of their grid, beyond every value.
    """
    rescaled: list[str] = []
    for node, tensor, output in (*network.passes(), *network.joins()):
        one, two = scales.get(tensor), scales.get(output)
        if one is None or two is None or _bits(one) == _bits(two):
            continue
        joins = operator(node) == "Concat"
        if not (dla and joins) and two != one and _is_natural(node, scales, narrower=tensor if joins else output):
            rescaled.append(tensor if joins else output)
        else:
            yield _conflict(node, (tensor, output), (one, two), dla=dla and joins)
    if rescaled:
        message = f"{counted(len(rescaled), 'tensor')} with a narrower range than what shares a Concat, Slice or Split with them: "
        message += f"{listed(rescaled)}. A GPU rescales there."
        yield about("note", "rescaled", "", message, "For a DLA, check with --dla.")
    yield from _ranges(scales, network, wider=_WIDER if exact else _GRID)


def _is_natural(node: onnx.NodeProto, scales: Mapping[str, float], *, narrower: str) -> bool:
    """Tell whether values that were joined, or left out, explain why one side reaches less far than the other."""
    widest = max((scales[t] for t in node.input if t in scales), default=0.0)
    if operator(node) == "Concat":
        return _bits(widest) == _bits(scales[node.output[0]]) and scales[narrower] < widest
    return operator(node) in _DROPS and scales[narrower] < scales[node.input[0]]


def _conflict(node: onnx.NodeProto, names: tuple[str, str], pair: tuple[float, float], *, dla: bool) -> Finding:
    (tensor, output), (one, two) = names, pair
    message = f"{node.op_type} passes values of «{tensor}» on to it, but their scales are {one:.6g} and {two:.6g} "
    message += f"(×{two / one:.3g})."
    if dla:
        return about("error", "dla", output, f"{message} A DLA cannot run it.", "Give all of them the largest one.")
    grave = operator(node) != "Concat" and operator(node) not in _DROPS and not 1 / _BIT < two / one < _BIT
    return about(
        "error" if grave else "warning",
        "conflict",
        output,
        message,
        "Give both the larger one, or they are rounded twice.",
    )


def _ranges(scales: Mapping[str, float], network: CacheNetwork, *, wider: float) -> Iterator[Finding]:
    beyond: list[str] = []
    for tensor, scale in scales.items():
        bound = network.bounds.get(tensor)
        if bound is None or scale * 127 <= bound * _WIDER:
            continue
        if scale * 127 <= bound * wider:
            beyond.append(tensor)
            continue
        message = f"It reaches {scale * 127:.4g}, but {_by(network, tensor)} ends its values at {bound:g}."
        yield _too_wide(tensor, message)
    if beyond:
        message = f"{counted(len(beyond), 'tensor')} a little wider than the operator allows, as where a calibrator's grid ends: {listed(beyond)}."
        yield about("note", "grid-end", "", message, "Nothing needs to be done; another method may gain a bit.")
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
    if kind in _FIRST_ONLY:
        return inputs[0] if inputs and inputs[0] is not None else float("inf")
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


def _bits(scale: float) -> bytes:
    return struct.pack("!f", scale)
