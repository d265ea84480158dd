"""The layers of an engine, joined with the ONNX nodes that they hold and the time that they take."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from quantlab.audit.inspector import EngineLayer, Inspection
from quantlab.audit.layer_names import COPY_OF, finder
from quantlab.audit.network import Network

Role = Literal["compute", "copy", "qdq", "other"]
"""compute: runs operators; copy: the same values in another format or shape; qdq: a Q or DQ that no kernel took in;
other: constants, and what synchronises streams."""

_COPIES = frozenset({"reformat", "noop"})
_OTHERS = frozenset({"constant", "signal", "wait"})
_STEP_KINDS = frozenset({"quantize", "dequantize"})
_MAYBE_STEP = frozenset({"reformat", "scale", "kgen", *_STEP_KINDS})
_STEP_NAME = re.compile("(?:Quantize|Dequantize)Linear")


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer.

    Attributes
    ----------
    name, kind, tactic
        As TensorRT names layer, implementation and kernel.
    role
        See `Role`.
    precision, output_precision
        Of its first input and of its first output: a kernel that reads INT8 may write FP32. TF32 for a kernel
        that reads FP32 and rounds it to TF32.
    weights
        Precision of the weights, None where the layer has none or does not tell.
    nodes, operators
        The ONNX nodes inside and their operators, as far as they are known; `operators` only with a model. Q and DQ
        that a kernel took in are left out.
    macs
        Multiply-accumulates of its nodes for one sample; None without a model, 0 for none.
    milliseconds, share
        Time, and its share, 0 … 1, of all layers'; None without a profile, or for a layer that it does not name.
    """

    name: str
    kind: str
    role: Role
    precision: str
    output_precision: str
    weights: str | None = None
    nodes: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    macs: int | None = None
    milliseconds: float | None = None
    share: float | None = None
    tactic: str = ""

    @property
    def types(self) -> str:
        """What it computes in and, if that is another type, what it writes: «INT8», «INT8 to FP32»."""
        same = self.output_precision in (self.precision, "FP32" if self.precision == "TF32" else self.precision)
        return self.precision if same else f"{self.precision} to {self.output_precision}"


def layer_rows(inspection: Inspection, network: Network, profile: Mapping[str, float]) -> tuple[LayerRow, ...]:
    """Return a row for each layer, in the order of execution.

    A node that several layers hold counts its multiply-accumulates in the first; of two layers of one name the first
    has the time.
    """
    return tuple(_rows(inspection, network, dict(profile), sum(profile.values())))


def _rows(inspection: Inspection, network: Network, times: dict[str, float], total: float) -> Iterator[LayerRow]:
    find = finder(network.operators)
    macs = dict(network.macs)
    for layer in inspection.layers:
        nodes = layer.onnx_nodes or find(layer.name)
        role = _role(layer, nodes, network)
        if role != "qdq":
            nodes = tuple(node for node in nodes if not _is_step(node, network))
        time = times.pop(layer.name, None)
        computes = role == "compute"
        yield LayerRow(
            layer.name,
            layer.kind,
            role,
            layer.precision,
            layer.output_precision,
            layer.weights,
            nodes,
            tuple(network.operators[node] for node in nodes if node in network.operators),
            sum(macs.pop(node, 0) for node in nodes if computes) if network.operators else None,
            time,
            time / total if time is not None and total > 0 else None,
            layer.tactic,
        )


def _is_step(node: str, network: Network) -> bool:
    return network.is_step(node) or (node not in network.operators and _STEP_NAME.search(node) is not None)


def _role(layer: EngineLayer, nodes: tuple[str, ...], network: Network) -> Role:
    kind = layer.kind.lower()
    if kind in _OTHERS:
        return "other"
    only_steps = bool(nodes) and all(_is_step(node, network) for node in nodes)
    named = kind in _MAYBE_STEP and not COPY_OF.match(layer.name) and _STEP_NAME.search(layer.name) is not None
    alone = named and " + " not in layer.name and not any(n in network.operators for n in nodes)
    if layer.origin == "QDQ" or kind in _STEP_KINDS or only_steps or alone:
        return "qdq"
    return "copy" if kind in _COPIES or COPY_OF.match(layer.name) else "compute"
