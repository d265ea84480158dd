"""The audit of a built engine: which layers run in which precision, fused with what, and what did not become INT8."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx
from typing_extensions import Self

from quantlab.audit.findings import layer_findings, profile_findings, tensor_findings
from quantlab.audit.inspector import Inspection, parse_inspector
from quantlab.audit.layers import LayerRow, layer_rows
from quantlab.audit.network import Network
from quantlab.audit.profile import checked_profile, profile_number, times_of
from quantlab.audit.tensors import TensorRow, tensor_rows
from quantlab.calibration.scale_table import ScaleTable
from quantlab.errors import StaleError, UsageError
from quantlab.graph.finding import Finding
from quantlab.graph.model import Model, load_model
from quantlab.numerics.markup import frame_table
from quantlab.storage.dataclass_json import Form

if TYPE_CHECKING:
    import pandas as pd

_LAYERS = (
    "layer", "kind", "role", "precision", "output", "weights", "nodes", "macs", "milliseconds", "share", "tactic",
)  # fmt: skip
_TENSORS = ("tensor", "state", "reason", "precision", "layer", "explanation")


FORM = Form("quantlab-audit", "audit", "audit again")


@dataclass(frozen=True, slots=True)
class Audit:
    """What TensorRT made of a network.

    Attributes
    ----------
    model
        What the model is called; empty if none was given.
    layers
        In the order of execution, those of one optimization profile.
    tensors
        The table's activations, then the model's with Q/DQ, then all others that the engine stores.
    findings
        What costs speed or accuracy, and what to do.
    profiles
        How many optimization profiles the engine has.
    profile
        Whose layers are listed, from 0.
    """

    model: str
    layers: tuple[LayerRow, ...]
    tensors: tuple[TensorRow, ...]
    findings: tuple[Finding, ...]
    profiles: int = 1
    profile: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """Precision → number of layers that compute in it; copies and Q/DQ alone are not among them."""
        return {kind: len(rows) for kind, rows in self._by_precision().items()}

    @property
    def macs(self) -> dict[str, int]:
        """Precision → multiply-accumulates of one sample in it; empty without a model."""
        sums = {kind: sum(row.macs or 0 for row in rows) for kind, rows in self._by_precision().items()}
        return {kind: count for kind, count in sums.items() if count}

    @property
    def times(self) -> dict[str, float]:
        """Precision, «copies» or «Q/DQ» → milliseconds; empty without a profile."""
        if self.milliseconds is None:
            return {}
        groups = self._by_precision() | {"copies": self._role("copy"), "Q/DQ": self._role("qdq")}
        sums = {kind: sum(row.milliseconds or 0.0 for row in rows) for kind, rows in groups.items()}
        return {kind: time for kind, time in sums.items() if time}

    @property
    def milliseconds(self) -> float | None:
        """The layers' times together; None without a profile."""
        known = [row.milliseconds for row in self.layers if row.milliseconds is not None]
        return sum(known) if known else None

    @property
    def reformats(self) -> int:
        """How many layers only copy values into another format."""
        return sum(row.kind.lower() == "reformat" for row in self._role("copy"))

    @property
    def qdq_alone(self) -> int:
        """How many Q and DQ stand as layers of their own."""
        return len(self._role("qdq"))

    def frame(self) -> pd.DataFrame:
        """Return one line a layer; `macs` of one sample, `share` 0 … 1 of all time."""
        return _frame(_LAYERS, (_layer_line(row) for row in self.layers))

    def tensor_frame(self) -> pd.DataFrame:
        """Return one line a tensor."""
        lines = ((t.tensor, t.state, t.reason, t.precision, t.layer, t.explanation) for t in self.tensors)
        return _frame(_TENSORS, lines)

    def summary(self) -> str:
        """Return the audit in a few sentences."""
        layers = ", ".join(f"{count} in {kind}" for kind, count in self.counts.items())
        total = sum(self.macs.values())
        work = ", ".join(f"{100 * count / total:.4g} % in {kind}" for kind, count in self.macs.items())
        states = [t.state for t in self.tensors]
        time = "" if self.milliseconds is None else f" {self.milliseconds:.4g} ms in all layers."
        listed = f" in optimization profile {self.profile} of {self.profiles}" if self.profiles > 1 else ""
        return (
            f"{len(self.layers)} layers{listed}: {layers}; copies between formats: {self.reformats}, Q/DQ in "
            f"layers of their own: {self.qdq_alone}.{f' Multiply-accumulates: {work}.' if work else ''} Tensors: {states.count('int8')} "
            f"INT8, {states.count('fused')} inside kernels, {states.count('converted')} converted, "
            f"{states.count('float')} float.{time}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the audit as JSON values."""
        return FORM.write(self)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read what `to_json` returned, as values or as text.

        Raises
        ------
        InputError
            When it is no such audit.
        """
        return FORM.read(cls, value)

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.summary())}</p>{frame_table(self.frame(), most=60)}"

    def _role(self, role: str) -> list[LayerRow]:
        return [row for row in self.layers if row.role == role]

    def _by_precision(self) -> dict[str, list[LayerRow]]:
        groups: dict[str, list[LayerRow]] = {}
        for row in self._role("compute"):
            groups.setdefault(row.precision, []).append(row)
        return groups


def audit_engine(
    inspector_json: str,
    *,
    model: str | os.PathLike[str] | onnx.ModelProto | Model | None = None,
    table: ScaleTable | None = None,
    profile: Mapping[str, float] | None = None,
    optimization_profile: int | None = None,
) -> Audit:
    """Join the engine inspector's report with what is known of the network.

    Parameters
    ----------
    inspector_json
        The text of the report, of an engine built with detailed verbosity.
    model
        The ONNX file that the engine was built from, or the float model behind a Q/DQ one: operators, names that
        hold " + ", multiply-accumulates, tensors inside kernels.
    table
        The scales that the engine was built with.
    profile
        Layer → milliseconds.
    optimization_profile
        Which profile's layers to list, from 0; if not given the one that the times are of, or the first.

    Raises
    ------
    InputError
        For a report or a model that cannot be read.
    StaleError
        When the engine was built from another model: they share no node.
    UsageError
        For an argument of another type, or an optimization profile that the engine does not have.
    """
    if not isinstance(inspector_json, str):
        raise UsageError(f"An audit reads the inspector's report as text, not as {type(inspector_json).__name__}.")
    if table is not None and not isinstance(table, ScaleTable):
        raise UsageError(f"An audit takes a ScaleTable, not {type(table).__name__}: load it with quantlab.load.")
    given = checked_profile(profile or {})
    inspection = _inspected(inspector_json, optimization_profile, given)
    loaded = None if model is None else load_model(model)
    network = Network() if loaded is None else Network.of(loaded)
    times = times_of(given, inspection.profile)
    rows = layer_rows(inspection, network, times)
    if loaded is not None:
        _check_same(inspection, rows, network, loaded.name)
    tensors = tensor_rows(inspection, rows, network, table)
    findings = (
        *layer_findings(inspection, rows, network),
        *tensor_findings(tensors, rows),
        *profile_findings(rows, times),
    )
    return Audit(
        "" if loaded is None else loaded.name, rows, tensors, findings, inspection.profiles, inspection.profile
    )


def _inspected(text: str, wanted: int | None, times: Mapping[str, float]) -> Inspection:
    inspection = parse_inspector(text, profile=wanted)
    timed = profile_number(times)
    if wanted is None and timed not in (None, inspection.profile) and inspection.profiles > 1:
        return parse_inspector(text, profile=timed)
    return inspection


def _check_same(inspection: Inspection, rows: Iterable[LayerRow], network: Network, name: str) -> None:
    named = {node for row in rows for node in row.nodes}
    if not any(node in network.operators for node in named):
        given = next(iter(named), inspection.layers[0].name)
        raise StaleError(
            f"The engine was built from another model than '{name}': they have no node in common (the engine's first "
            f"is «{given:.80}»). Give the ONNX file that it was built from."
        )


def _layer_line(row: LayerRow) -> tuple[object, ...]:
    head = (row.name, row.kind, row.role, row.precision, row.output_precision, row.weights, ", ".join(row.nodes))
    return (*head, row.macs, row.milliseconds, row.share, row.tactic)


def _frame(columns: tuple[str, ...], lines: Iterable[tuple[object, ...]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(lines), columns=pd.Index(columns))
