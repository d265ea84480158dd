"""What `quantlab tune` and `quantlab qat` left of their rungs, read from `tune.json` and the training's `report.json`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from quantlab.comparison.statistics import Interval
from quantlab.storage.json_documents import read_document

Standing = Literal["holds", "likely", "undecided", "misses"]

CHANGED = "other class"
"""What a drop is of where there are no labels: samples that change their class."""

TUNED, TRAINED = "quantlab-tuned", "quantlab-training"


class _Open(BaseModel):
    """Fields beyond these are the search's own business."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class _Interval(_Open):
    low: float
    high: float
    level: float

    def value(self) -> Interval:
        return Interval(self.low, self.high, self.level)


class _Target(_Open):
    max_drop: float | None = None
    confidence: float = 0.95


class _Score(_Open):
    samples: int
    sqnr_db: dict[str, float | None]
    agreement: float | None = None
    metric: str = ""
    drop: float | None = None
    drop_interval: _Interval | None = None
    fp32: float | None = None

    @property
    def worst_db(self) -> float | None:
        """SQNR of the output that lost most, in dB; None where one is not a number."""
        known = list(self.sqnr_db.values())
        return None if None in known else min((db for db in known if db is not None), default=None)

    @property
    def interval(self) -> Interval | None:
        """Of the drop, in points."""
        return self.drop_interval.value() if self.drop_interval else None


class _Trial(_Open):
    rung: str
    label: str
    change: str
    score: _Score | None = None
    kept: bool = False
    standing: Standing = "misses"
    floats: int = 0
    seconds: float = 0.0
    note: str = ""


class _Row(_Open):
    name: str
    nodes: list[str] = Field(fail_fast=True)
    share: float = 0.0
    alone_db: float | None = None
    gain_db: float | None = None


class _Sensitivity(_Open):
    rows: list[_Row] = Field(fail_fast=True)
    samples: int


class _Point(_Open):
    floats: list[str] = Field(fail_fast=True)
    coverage: float


class Search(_Open):
    """A search for better PTQ, as `quantlab tune` writes it; drops in points, SQNR in dB, times in seconds."""

    schema_name: Literal["quantlab-tuned"] = Field(alias="schema")
    version: Literal[1]
    verdict: str
    standing: Standing
    target: _Target
    score: _Score
    final: _Score | None = None
    keep_float: list[str] = Field(default_factory=list, fail_fast=True)
    trials: list[_Trial] = Field(fail_fast=True)
    sensitivity: _Sensitivity | None = None
    front: Annotated[list[_Point], Field(fail_fast=True)] | None = None


class _TrainingRung(_Open):
    rung: str
    model: str
    standing: Standing
    metric: str = ""
    fp32: float | None = None
    points_lost: float | None = None
    interval: _Interval | None = None
    agreement: float | None = None
    sqnr_db: float | None = None
    samples: int
    seconds: float


class Training(_Open):
    """A climb from PTQ to quantization-aware training, as `quantlab qat` writes it; same units."""

    schema_name: Literal["quantlab-training"] = Field(alias="schema")
    version: Literal[1]
    verdict: str
    standing: Standing
    best: str
    target: _Target
    rungs: list[_TrainingRung] = Field(fail_fast=True)


def read_search(path: Path) -> Search:
    """Return the search in a file.

    Raises
    ------
    InputError
        When it is missing, damaged, foreign or of a newer version.
    """
    return read_document(path, Search, schema=TUNED, version=1, what="a search for better PTQ")


def read_training(path: Path) -> Training:
    """Return the climb in a file.

    Raises
    ------
    InputError
        As for `read_search`.
    """
    return read_document(path, Training, schema=TRAINED, version=1, what="a training's report")
