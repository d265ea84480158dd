"""Many engines beside one reference, on the same samples, in one table."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from html import escape
from math import nan
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import PlainValidator

from quantlab.comparison.comparison import CompareOptions, Comparison, compare_pairs
from quantlab.comparison.cost import Cost, of_plan
from quantlab.comparison.lineup_table import table_cells
from quantlab.comparison.one_pass import Pair
from quantlab.comparison.tensors import TensorProbe
from quantlab.data.batch import Dataset
from quantlab.engines.engine import Engine
from quantlab.errors import UsageError
from quantlab.metrics.metric import Metric
from quantlab.metrics.top_k import TopK
from quantlab.numerics.arrays import Tensors
from quantlab.storage.dataclass_json import Form

if TYPE_CHECKING:
    import pandas as pd

FORM = Form("quantlab-lineup", "comparison", "compare again")

_Comparison = Annotated[Comparison, PlainValidator(Comparison.from_json)]


@dataclass(frozen=True, slots=True)
class Entry:
    """One engine of a lineup.

    Attributes
    ----------
    name
        What its user calls it.
    comparison
        It against the reference.
    precision
        What its layers may compute in and where its scales come from, as far as the engine tells.
    cost
        Empty where nothing was measured.
    """

    name: str
    comparison: _Comparison
    precision: str = ""
    cost: Cost = field(default_factory=Cost)

    @property
    def sqnr_db(self) -> float | None:
        """The signal-to-noise ratio of the worst output, in dB."""
        return min((error.sqnr_db for error in self.comparison.outputs), default=None)


@dataclass(frozen=True, slots=True)
class Lineup:
    """Engines beside one reference.

    Attributes
    ----------
    entries
        In the order given.
    reference
        The reference's backend.
    reference_cost
        What it costs itself, where that was measured.
    paced_by
        The engine whose time the others' are held against, such as FP32 on the same device; empty: the reference.
    """

    entries: tuple[Entry, ...]
    reference: str
    reference_cost: Cost = field(default_factory=Cost)
    paced_by: str = ""

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.entries]
        twice = sorted({name for name in names if names.count(name) > 1})
        if not names:
            raise UsageError("A lineup needs at least one engine beside its reference.")
        if twice:
            raise UsageError(f"A lineup needs engines, each of another name; «{', '.join(twice)}» came twice or more.")
        if self.paced_by and self.paced_by not in names:
            raise UsageError(f"No engine «{self.paced_by}» is in the lineup, so its time sets no pace: {names}.")

    def __getitem__(self, name: str) -> Entry:
        """Return an engine's entry by name.

        Raises
        ------
        UsageError
            For a name that is not in the lineup.
        """
        found = next((entry for entry in self.entries if entry.name == name), None)
        if found is None:
            raise UsageError(f"The lineup has no engine «{name}»: it has {', '.join(e.name for e in self.entries)}.")
        return found

    def with_costs(self, costs: Mapping[str, Cost], *, paced_by: str | None = None) -> "Lineup":
        """Return the lineup with these engines' costs; the empty name is the reference.

        Raises
        ------
        UsageError
            For a name that is not in the lineup.
        """
        unknown = sorted(set(costs) - {"", *(entry.name for entry in self.entries)})
        if unknown:
            raise UsageError(f"The lineup has no engine «{unknown[0]}».")
        entries = tuple(replace(entry, cost=costs.get(entry.name, entry.cost)) for entry in self.entries)
        pace = self.paced_by if paced_by is None else paced_by
        return Lineup(entries, self.reference, costs.get("", self.reference_cost), pace)

    def speed(self, name: str, batch: int, *, graph: bool = False) -> float | None:
        """Return the pacing engine's median time over this engine's; None where either was not measured."""
        pace = self[self.paced_by].cost if self.paced_by else self.reference_cost
        theirs, own = pace.time(batch, graph=graph), self.cost_of(name).time(batch, graph=graph)
        return theirs.median_ms / own.median_ms if theirs and own else None

    def frame(self) -> "pd.DataFrame":
        """Return one line an engine, the reference first: shares 0 … 1, drops in points, dB, milliseconds, bytes, watts."""
        import pandas as pd

        # A column of None alone would be one of objects, in which nothing can be computed.
        return pd.DataFrame([{key: nan if cell is None else cell for key, cell in row.items()} for row in self.rows()])

    def rows(self) -> list[dict[str, object]]:
        """Return the frame's lines; what was not measured is None."""
        keys = sorted({(t.batch, t.graph) for cost in self._costs() for t in cost.times}, key=lambda k: (k[1], k[0]))
        first = _score_cells(self.entries[0].comparison, of_reference=True)
        lines: list[dict[str, object]] = [
            {"name": "reference", "precision": "", "backend": self.reference}
            | first
            | _time_cells("", self, keys)
            | _cost_cells(self.reference_cost)
        ]
        lines += [
            {"name": entry.name, "precision": entry.precision, "backend": entry.comparison.backends.int8}
            | _score_cells(entry.comparison)
            | {"sqnr_db": entry.sqnr_db}
            | _time_cells(entry.name, self, keys)
            | _cost_cells(entry.cost)
            for entry in self.entries
        ]
        columns = dict.fromkeys(column for line in reversed(lines) for column in line)
        return [{column: line.get(column) for column in columns} for line in lines]

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        comparisons = [entry.comparison.to_json() for entry in self.entries]
        bare = (replace(entry, comparison=entry.comparison.without_samples()) for entry in self.entries)
        found = FORM.write(replace(self, entries=tuple(bare)))
        for entry, comparison in zip(found["entries"], comparisons, strict=True):
            entry["comparison"] = comparison
        return found

    @classmethod
    def from_json(cls, value: object) -> "Lineup":
        """Read what `to_json` returned, as JSON values or as text.

        Raises
        ------
        InputError
            When it is no lineup, or a field is missing, unknown or of another type.
        """
        return FORM.read(cls, value)

    def _costs(self) -> list[Cost]:
        return [self.reference_cost, *(entry.cost for entry in self.entries)]

    def cost_of(self, name: str) -> Cost:
        """Return an engine's cost by name; the empty name is the reference."""
        return self[name].cost if name else self.reference_cost

    def _repr_html_(self) -> str:
        columns, rows = table_cells(self.rows())
        head = "".join(f"<th>{escape(column)}</th>" for column in columns)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell or '–')}</td>" for cell in row) + "</tr>" for row in rows)
        return f"<p>Reference: {escape(self.reference)}</p><table><tr>{head}</tr>{body}</table>"


def lineup(
    reference: Engine,
    candidates: Mapping[str, Engine],
    data: Dataset | Iterable[Tensors],
    *,
    metrics: Iterable[Metric] = (TopK(1), TopK(5)),
    probes: Mapping[str, TensorProbe] | None = None,
    options: CompareOptions | None = None,
) -> Lineup:
    """Hold each candidate against the reference, in one pass: each engine runs once a batch.

    Parameters
    ----------
    reference
        What answers count as right for agreement and SQNR, for instance ONNX Runtime in FP32.
    candidates
        Engines by the name that the table shows, with the reference's inputs and outputs. A plan's bytes, build time and
        scratch memory come from its engine; `with_costs` adds what was measured.
    data, metrics
        As for `compare`.
    probes
        Engines that show inner tensors, by candidate; their `fp32` is the reference's.
    options
        As for `compare`; its own probe has no place here.

    Raises
    ------
    UsageError
        Without candidates, or with a probe for none of them.
    InputError
        As for `compare`.
    """
    settings, shown = options or CompareOptions(), probes or {}
    _check_engines(reference, candidates)
    if settings.probe is not None:
        raise UsageError("A lineup takes a probe a candidate: give probes={name: TensorProbe}, not the options' own.")
    strange = sorted(set(shown) - set(candidates))
    if not candidates:
        raise UsageError("A lineup needs at least one candidate: give candidates={name: engine}.")
    if strange:
        raise UsageError(f"A probe is for a candidate, and there is no «{', '.join(strange)}» among {[*candidates]}.")
    pairs = {name: Pair(reference, engine, shown.get(name)) for name, engine in candidates.items()}
    found = compare_pairs(pairs, data, metrics=metrics, options=settings)
    entries = tuple(
        Entry(name, found[name], precision_of(engine), of_plan(engine)) for name, engine in candidates.items()
    )
    return Lineup(entries, reference.backend, of_plan(reference))


def precision_of(engine: Engine) -> str:
    """Return what an engine's layers may compute in, and where its scales come from; empty where it does not tell."""
    card: Any = getattr(getattr(engine, "plan", None), "card", None)
    if card is None:
        return ""
    return "+".join(card.precision) + (f" ({card.scales})" if card.scales else "")


def _score_cells(found: Comparison, *, of_reference: bool = False) -> dict[str, object]:
    cells: dict[str, object] = {"samples": found.samples}
    for metric in found.metrics:
        if of_reference:
            cells[metric.name] = metric.fp32
            continue
        name, span = metric.name, metric.interval
        cells |= {name: metric.int8, f"{name} drop": metric.drop, f"{name} low": span.low, f"{name} high": span.high}
    known = found.agreement.samples > 0 and not of_reference
    return cells | {"agreement": found.agreement.score} if known else cells


def _time_cells(name: str, found: Lineup, keys: list[tuple[int, bool]]) -> dict[str, object]:
    cells: dict[str, object] = {}
    for batch, graph in keys:
        time, label = found.cost_of(name).time(batch, graph=graph), f"b{batch}{' graph' if graph else ''}"
        cells[f"ms {label}"] = time.median_ms if time else None
        cells[f"p90 ms {label}"] = time.p90_ms if time else None
        cells[f"speed {label}"] = found.speed(name, batch, graph=graph)
    return cells


def _cost_cells(cost: Cost) -> dict[str, object]:
    return {
        "model_bytes": cost.model_bytes,
        "device_bytes": cost.device_bytes,
        "build_seconds": cost.build_seconds,
        "watts": cost.power.watts if cost.power else None,
        "joules_per_sample": cost.power.joules_per_sample if cost.power else None,
    }


def _check_engines(reference: Engine, candidates: Mapping[str, Engine]) -> None:
    if not isinstance(candidates, Mapping):
        raise UsageError(f"A lineup's candidates are {{name: engine}}, not {type(candidates).__name__}.")
    for name, engine in {"the reference": reference, **candidates}.items():
        if not hasattr(engine, "outputs"):
            raise UsageError(f"«{name}» is to be an engine, for instance ql.engines.ort(…), not {engine!r:.60}.")
