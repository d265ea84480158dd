"""What a history keeps of a run: a line of numbers, and the lines of a folder together."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from typing_extensions import Self

if TYPE_CHECKING:
    import pandas as pd

Verdict: TypeAlias = Literal["", "pass", "warn", "fail", "inconclusive"]

LONGEST = 1000
"""Characters of the longest text in a record; names beyond it are cut."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run in a history.

    Attributes
    ----------
    number
        Its place in the history, from 1; 0: not in one yet.
    name, label
        The run's name, and what the user tells it apart by, for instance a commit.
    added
        When, as «2026-01-31T12:00:00+00:00».
    place
        The run's folder, relative to the history where it can be.
    digest
        «sha256:…» of its comparison.
    model, model_name, data, data_name
        Digests and names of the float model and of the samples.
    samples
        How many were compared.
    method
        The calibration method; empty if it is not told.
    backend
        What ran INT8.
    metric, unit
        The main metric's name, empty without one, and the unit of `drop`: points or the metric's own (empty).
    fp32, int8, drop, low, high
        Scores of both networks, what INT8 loses, and the interval of that loss, in `unit`.
    agreement
        Share of samples, 0 … 1, for which both networks choose the same class.
    sqnr_db
        Of the network's outputs, the lowest of several, in dB; infinite where INT8 is exact.
    fp32_bytes, int8_bytes, fp32_ms, int8_ms
        Sizes of the model files, and median latencies of a batch.
    verdict, against
        What a regression test said of the run, and the name of the run that it was held against; empty without one.
    versions
        What ran, by name.
    """

    name: str
    added: str
    digest: str
    samples: int
    label: str = ""
    place: str = ""
    model: str = ""
    model_name: str = ""
    data: str = ""
    data_name: str = ""
    method: str = ""
    backend: str = ""
    metric: str = ""
    unit: str = ""
    fp32: float | None = None
    int8: float | None = None
    drop: float | None = None
    low: float | None = None
    high: float | None = None
    agreement: float | None = None
    sqnr_db: float | None = None
    fp32_bytes: int | None = None
    int8_bytes: int | None = None
    fp32_ms: float | None = None
    int8_ms: float | None = None
    verdict: Verdict = ""
    against: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    number: int = 0


@dataclass(frozen=True, slots=True)
class History:
    """The runs of a history, the first added first."""

    folder: Path
    runs: tuple[RunRecord, ...]

    def of(self, name: str) -> Self:
        """Return the runs with this name alone."""
        return type(self)(self.folder, tuple(run for run in self.runs if run.name == name))

    def frame(self) -> "pd.DataFrame":
        """Return one line a run; `drop`, `low` and `high` in `unit`, `sqnr_db` in dB, sizes in bytes, latencies in ms."""
        import pandas as pd

        first = ("number", "added", "name", "label", "verdict", "metric", "unit", "fp32", "int8", "drop", "low", "high")
        names = [name for name in RunRecord.__dataclass_fields__ if name not in (*first, "versions")]
        rows = [asdict(run) for run in self.runs]
        return pd.DataFrame(rows, columns=[*first, *names]).set_index("number")

    def _repr_html_(self) -> str:
        table = self.frame()[["added", "name", "label", "verdict", "metric", "fp32", "int8", "drop", "low", "high"]]
        return f"<p>{len(self.runs)} runs in «{escape(str(self.folder))}»</p>{table.to_html(escape=True)}"
