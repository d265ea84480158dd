"""What every sample of a comparison showed, a row a sample, so that two comparisons can be paired."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, TypeAlias

import numpy as np
from pydantic import PlainValidator

from quantlab.comparison.paired import PairedValues
from quantlab.errors import InputError
from quantlab.metrics.metric import Metric
from quantlab.numerics.arrays import F64, I64, AnyArray
from quantlab.numerics.markup import card, frame_table

if TYPE_CHECKING:
    import pandas as pd

MOST_PICTURES = 60
"""Pictures that a table holds."""

_SHOWN = 20
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class MetricKind:
    """What the values of a metric mean.

    Attributes
    ----------
    name
        The metric's, for instance «top-1».
    higher_is_better
        False for errors and losses.
    mean
        Whether the score is the values' mean; otherwise the metric's own `score` is needed to make one of them.
    in_points
        Whether the score is a share, of which a loss is told in percentage points.
    """

    name: str
    higher_is_better: bool = True
    mean: bool = True
    in_points: bool = False

    @classmethod
    def of(cls, metric: Metric) -> "MetricKind":
        """Return a metric's kind."""
        points = bool(getattr(metric, "in_points", False))
        return cls(metric.name, bool(metric.higher_is_better), not hasattr(metric, "score"), points)


@dataclass(frozen=True, slots=True, eq=False)
class SampleTable:
    """FP32 beside INT8, sample by sample; row i of every column is sample i of the data.

    Attributes
    ----------
    signal, noise
        Of each sample's first output of the network: Σ x² of FP32 and Σ (x − y)², float64 [n]; NaN where it is not known
        or not finite.
    keys
        Each sample's source as 16 hexadecimal digits: the hash in the data identity's sketch, which neither
        preprocessing nor batches change. Empty if not known. The same sample twice has the same key twice.
    names
        One a sample; empty if not known.
    labels
        int64 [n]; None without labels, or where they are no class a sample.
    fp32_class, int8_class
        The classes chosen, int64 [n], −1 for none (NaN among the scores); None where no output holds class scores.
    confidence
        FP32's share for its class, 0 … 1, float64 [n]: the softmax of the class scores, or the scores themselves where
        they are shares; NaN for none. None where no output holds class scores.
    values
        The values of each metric, by name; a second metric of the same name is called «name #2».
    metrics
        What these values mean, by the same names, in the order asked for.
    pictures
        Thumbnails of samples on which the networks differ, PNG or JPEG, by row; at most 60.

    Raises
    ------
    InputError
        When a column has another number of samples than the others, a key is none, or there are too many pictures.
    """

    signal: F64
    noise: F64
    keys: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    labels: I64 | None = None
    fp32_class: I64 | None = None
    int8_class: I64 | None = None
    confidence: F64 | None = None
    values: Mapping[str, PairedValues] = field(default_factory=dict)
    metrics: Mapping[str, MetricKind] = field(default_factory=dict)
    pictures: Mapping[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, length in self._lengths().items():
            if length != len(self):
                raise InputError(f"The column «{name}» has {length} rows for {len(self)} samples: give one a sample.")
        wrong = next((key for key in self.keys if len(key) != 16 or not _HEX.issuperset(key)), None)
        if wrong is not None:
            raise InputError(f"«{wrong}» is no key of a sample: 16 hexadecimal digits are.")
        if tuple(self.values) != tuple(self.metrics):
            raise InputError(f"There are values of {[*self.values]}, but the metrics are {[*self.metrics]}.")
        uneven = next((name for name, pair in self.values.items() if pair.fp32.shape != pair.int8.shape), None)
        if uneven is not None:
            raise InputError(f"The values of «{uneven}» have other shapes for FP32 than for INT8.")
        if len(self.pictures) > MOST_PICTURES or not all(0 <= row < len(self) for row in self.pictures):
            raise InputError(f"There are {len(self.pictures)} pictures for {len(self)} samples; at most 60 are kept.")

    def __len__(self) -> int:
        return len(self.signal)

    def _lengths(self) -> dict[str, int]:
        arrays = {
            "noise": self.noise,
            "labels": self.labels,
            "fp32_class": self.fp32_class,
            "int8_class": self.int8_class,
            "confidence": self.confidence,
        }
        known = {name: len(values) for name, values in arrays.items() if values is not None}
        known |= {name: len(texts) for name, texts in (("keys", self.keys), ("names", self.names)) if texts}
        for name, pair in self.values.items():
            known |= {f"{name} of FP32": len(pair.fp32), f"{name} of INT8": len(pair.int8)}
        return known

    def merge(self, other: "SampleTable") -> "SampleTable":
        """Return the samples of both, this one's first; a column that one of them lacks is not known of the whole.

        Of more than 60 pictures those of the first samples in `worst` stay.

        Raises
        ------
        InputError
            When the metrics are not the same.
        """
        if dict(self.metrics) != dict(other.metrics):
            raise InputError(f"Samples with {[*self.metrics]} and samples with {[*other.metrics]} make no one table.")
        joined = SampleTable(
            np.concatenate([self.signal, other.signal]),
            np.concatenate([self.noise, other.noise]),
            _texts(self, self.keys, other, other.keys),
            _texts(self, self.names, other, other.names),
            _column(self.labels, other.labels),
            _column(self.fp32_class, other.fp32_class),
            _column(self.int8_class, other.int8_class),
            _column(self.confidence, other.confidence),
            {name: pair.merge(other.values[name]) for name, pair in self.values.items()},  # noqa: PD011 - no frame
            self.metrics,
        )
        moved = {row + len(self): picture for row, picture in other.pictures.items()}
        return joined.with_pictures({**self.pictures, **moved})

    def with_pictures(self, pictures: Mapping[int, bytes]) -> "SampleTable":
        """Return the table with these pictures alone: of more than 60, those of the first samples in `worst`."""
        rows = sorted(pictures)
        if len(rows) > MOST_PICTURES:
            place = {row: index for index, row in enumerate(self.worst())}
            rows = sorted(sorted(rows, key=lambda row: place.get(row, len(self)))[:MOST_PICTURES])
        fields = {name: getattr(self, name) for name in self.__slots__}
        return SampleTable(**fields | {"pictures": {row: pictures[row] for row in rows}})

    @property
    def flipped(self) -> tuple[int, ...]:
        """The rows for which the networks choose different classes, or one of them none; empty without classes."""
        if self.fp32_class is None or self.int8_class is None:
            return ()
        return tuple(np.flatnonzero((self.fp32_class != self.int8_class) | (self.fp32_class < 0)).tolist())

    def worst(self) -> tuple[int, ...]:
        """Return the rows on which INT8 differs: with another class, or worse in the first metric of one value a sample.

        Those that lose most come first, then those of which FP32 was surest, then by place.
        """
        lost = self._lost()
        differs = lost > 0
        differs[list(self.flipped)] = True
        sure = np.zeros(len(self)) if self.confidence is None else np.nan_to_num(self.confidence, nan=-1.0)
        rows = np.flatnonzero(differs)
        return tuple(rows[np.lexsort((rows, -sure[rows], -lost[rows]))].tolist())

    def _lost(self) -> F64:
        """Return what each sample loses of the first metric that has one value a sample; 0 without one."""
        for name, pair in self.values.items():
            if pair.fp32.ndim == 1:
                sign = 1.0 if self.metrics[name].higher_is_better else -1.0
                return np.asarray(sign * (pair.fp32 - pair.int8), np.float64)
        return np.zeros(len(self))

    @property
    def sqnr_db(self) -> F64:
        """Each sample's signal-to-noise ratio of the first output, in dB; inf without noise, −inf without signal, NaN without both."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(10 * np.log10(self.signal / self.noise), np.float64)

    def frame(self) -> "pd.DataFrame":
        """Return one line a sample; columns that are not known are left out.

        key, name, label, fp32_class, int8_class, confidence (0 … 1), sqnr_db (of the first output, in dB), and
        «<name> fp32» and «<name> int8» of each metric with one value a sample, in its own unit.
        """
        import pandas as pd

        columns: dict[str, object] = {
            "key": list(self.keys) or None,
            "name": list(self.names) or None,
            "label": self.labels,
            "fp32_class": self.fp32_class,
            "int8_class": self.int8_class,
            "confidence": self.confidence,
            "sqnr_db": self.sqnr_db,
        }
        for name, pair in self.values.items():
            if pair.fp32.ndim == 1:
                columns |= {f"{name} fp32": pair.fp32, f"{name} int8": pair.int8}
        return pd.DataFrame({name: column for name, column in columns.items() if column is not None})

    def _repr_html_(self) -> str:
        facts = {
            "samples": len(self), "flipped": len(self.flipped), "metrics": ", ".join(self.metrics), "pictures": len(self.pictures),
        }  # fmt: skip
        rows, words = list(self.worst()[:_SHOWN]), "Those that differ most:"
        if not rows:
            rows, words = np.argsort(self.sqnr_db, kind="stable")[:5].tolist(), "No class differs; the lowest SQNR:"
        more = f"<p>{words}</p>{frame_table(self.frame().iloc[rows])}" if rows else ""
        return card("SampleTable", facts, more=more)


@dataclass(frozen=True, slots=True)
class SamplesFile:
    """The file with a comparison's table, beside it: its name there, and «sha256:…» of its bytes."""

    name: str
    sha256: str


def _refused(value: object) -> None:
    raise ValueError(f"a comparison in JSON holds no table of its samples, but here is a {type(value).__name__}")


InMemory: TypeAlias = Annotated[SampleTable | None, PlainValidator(_refused)]
"""A table that JSON does not hold."""


def _texts(one: SampleTable, mine: tuple[str, ...], two: SampleTable, theirs: tuple[str, ...]) -> tuple[str, ...]:
    return mine + theirs if len(mine) == len(one) and len(theirs) == len(two) else ()


def _column(mine: AnyArray | None, theirs: AnyArray | None) -> AnyArray | None:
    return None if mine is None or theirs is None else np.concatenate([mine, theirs])
