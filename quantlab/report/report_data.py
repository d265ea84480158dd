"""What the page shows, as values: numbers with units in their names, no markup and no formatting."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from quantlab.calibration.provenance import DataIdentity
from quantlab.calibration.ranges import Range
from quantlab.calibration.scale_table import Role, Shape
from quantlab.comparison.agreement import Flip
from quantlab.comparison.comparison import Comparison
from quantlab.comparison.latency import Latency
from quantlab.comparison.metric_score import MetricScore

State: TypeAlias = Literal["pass", "warn", "fail", "none"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to «may I ship this».

    Attributes
    ----------
    state
        none: no limit was given, or nothing was measured.
    headline
        What INT8 keeps, on what, measured how.
    reason
        Why this state.
    """

    state: State
    headline: str
    reason: str


@dataclass(frozen=True, slots=True)
class Score:
    """FP32 beside INT8 on one set.

    Attributes
    ----------
    model
        What was run, for instance «Q/DQ model».
    backend
        What ran INT8.
    data
        The set's name.
    samples
        How many.
    final
        Whether the set is known to have had no say in the scales.
    metrics
        The main one first; empty without labels.
    agreement
        Share of samples for which both choose the same class; None where nothing is chosen.
    output_db
        SQNR of the network's outputs, the lowest of several.
    nan
        Samples with NaN among INT8's outputs.
    latency
        None if not measured.
    untold
        Whether nothing tells which data chose the scales.
    """

    model: str
    backend: str
    data: str
    samples: int
    final: bool = True
    metrics: tuple[MetricScore, ...] = ()
    agreement: float | None = None
    output_db: float | None = None
    nan: int = 0
    latency: Latency | None = None
    untold: bool = False

    @classmethod
    def of(cls, model: str, found: Comparison) -> "Score":
        """Return what a comparison says."""
        return cls(
            model,
            found.backends.int8,
            found.data.name,
            found.samples,
            found.final,
            found.metrics,
            found.agreement.score if found.agreement.samples else None,
            min((error.sqnr_db for error in found.outputs), default=None),
            found.nan.int8,
            found.latency,
            not found.chosen_on,
        )

    @property
    def main(self) -> MetricScore | None:
        """The metric that the verdict is about."""
        return self.metrics[0] if self.metrics else None


@dataclass(frozen=True, slots=True)
class MethodRow:
    """A calibration method: its score on the tuning set, and the median of its tensors' expected SQNR."""

    name: str
    parameters: str
    chosen: bool
    tensors: int
    score: Score | None
    median_expected_db: float | None


@dataclass(frozen=True, slots=True)
class Sketch:
    """A histogram of |x| small enough to embed.

    Attributes
    ----------
    counts
        At most 160 equal bins over [0, stop]; exact zeros are left out where `zeros` is known.
    stop
        Upper edge of the last bin, in the tensor's unit.
    zeros
        Exact zeros; None where the grid does not tell.
    total
        All finite values.
    """

    counts: tuple[int, ...]
    stop: float
    zeros: int | None
    total: int


@dataclass(frozen=True, slots=True)
class Threshold:
    """The magnitude that a method lets a tensor's integers reach, and what that costs as the histogram tells it."""

    method: str
    amax: float
    clipped: float | None
    expected_db: float | None


@dataclass(frozen=True, slots=True)
class TensorRow:
    """One quantized tensor under the chosen method.

    Attributes
    ----------
    position
        Place in graph order, from 1.
    scale
        The largest, where there is one a channel.
    clipped
        Share of values, 0 … 1.
    expected_db, own_db, accumulated_db
        SQNR: foretold by the histogram; measured of DQ(Q(x)); measured of x in the INT8 graph. None: not known.
    thresholds
        One a method that has the tensor.
    sketch
        None where no histogram was kept.
    """

    position: int
    name: str
    shape: Shape | None
    role: Role
    dtype: str
    method: str
    scale: float
    channels: int
    observed: Range | None
    chosen: Range | None
    clipped: float | None
    expected_db: float | None
    own_db: float | None = None
    accumulated_db: float | None = None
    thresholds: tuple[Threshold, ...] = ()
    sketch: Sketch | None = None


@dataclass(frozen=True, slots=True)
class FloatGroup:
    """Tensors or nodes that stay float for one reason."""

    reason: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DataRow:
    """A set of samples and what it was used for."""

    identity: DataIdentity
    use: str


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything on the page; an empty tuple or None leaves its section out.

    Attributes
    ----------
    title
        The page's heading.
    verdict
        The answer.
    quantlab
        The version that made the page.
    score, others
        The score that the verdict is about, and those of further models.
    sizes
        Bytes of the model files, by «fp32» and «int8».
    methods, choice
        The methods compared, and in words which was chosen and why.
    tensors
        In graph order, under the chosen method.
    unused
        Rows of its table that the model leaves float; a second target may use them.
    floats
        What stays float.
    flips, flip_count
        The first samples for which the answer changes, and how many there are.
    model, model_name, grid, data, versions
        Digest and file name of the float model; the histograms' grid; every set; what ran.
    """

    title: str
    verdict: Verdict
    quantlab: str
    score: Score | None = None
    others: tuple[Score, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    methods: tuple[MethodRow, ...] = ()
    choice: str = ""
    tensors: tuple[TensorRow, ...] = ()
    unused: int = 0
    floats: tuple[FloatGroup, ...] = ()
    flips: tuple[Flip, ...] = ()
    flip_count: int = 0
    model: str = ""
    model_name: str = ""
    grid: str = ""
    data: tuple[DataRow, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def random(self) -> bool:
        """Whether random numbers had a say in the scales or the score."""
        return any(row.identity.random for row in self.data)

    @property
    def worst(self) -> tuple[TensorRow, ...]:
        """The ten tensors with the lowest own SQNR; the expected one stands in where none was measured."""
        known = [row for row in self.tensors if row_db(row) is not None]
        return tuple(sorted(known, key=lambda row: row_db(row) or 0.0)[:10])


def row_db(row: TensorRow) -> float | None:
    """Return a tensor's own SQNR in dB, else the expected one."""
    return row.own_db if row.own_db is not None else row.expected_db
