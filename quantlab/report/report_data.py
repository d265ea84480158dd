"""What the page shows, as values: numbers with units in their names, no markup and no formatting."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from quantlab.calibration.provenance import DataIdentity
from quantlab.report.artefacts import Artefact
from quantlab.report.diagnostics import Diagnostics
from quantlab.report.engines import Engines
from quantlab.report.flips import Flipped
from quantlab.report.hurts import Hurt
from quantlab.report.ladder import Ladder
from quantlab.report.precision import Precision
from quantlab.report.report_score import MethodRow, Score
from quantlab.report.tensor_row import Activation, TensorRow, row_db

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
class FloatGroup:
    """What stays float for one reason.

    Attributes
    ----------
    kind
        operators; tensors that are stored in float; or inside: tensors that live inside a kernel and are never stored.
    """

    reason: str
    names: tuple[str, ...]
    kind: Literal["operators", "tensors", "inside"] = "tensors"


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
    hurts
        What hurts most, the worst first.
    ladder
        The ways that were tried; None where there was but one.
    activations
        Every activation that both graphs have; empty where only the quantized ones were measured.
    precision, engine_precision
        What runs in which precision, in the model as written and in the plan as built; None: not known.
    engines
        Times and sizes; None where nothing was timed.
    flipped
        The samples for which the answer changes; None where there is none.
    diagnostics
        What is odd about the calibration data; None where nothing was looked at.
    model, model_name, grid, data, versions, artefacts
        Digest and file name of the float model; the histograms' grid; every set; what ran; what made each file.
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
    hurts: tuple[Hurt, ...] = ()
    ladder: Ladder | None = None
    activations: tuple[Activation, ...] = ()
    precision: Precision | None = None
    engine_precision: Precision | None = None
    engines: Engines | None = None
    flipped: Flipped | None = None
    diagnostics: Diagnostics | None = None
    model: str = ""
    model_name: str = ""
    grid: str = ""
    data: tuple[DataRow, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    artefacts: tuple[Artefact, ...] = ()

    @property
    def random(self) -> bool:
        """Whether random numbers had a say in the scales or the score."""
        return any(row.identity.random for row in self.data)

    @property
    def coverage(self) -> float | None:
        """Share of the multiply-accumulates on integers, 0 … 1: in the plan as built, else in the model as written."""
        known = (part.coverage for part in (self.engine_precision, self.precision) if part is not None)
        return next((share for share in known if share is not None), None)

    def float_count(self, kind: Literal["operators", "tensors", "inside"]) -> int:
        """How many tensors or operators of one kind stay float."""
        return sum(len(group.names) for group in self.floats if group.kind == kind)

    @property
    def worst(self) -> tuple[TensorRow, ...]:
        """The ten tensors with the lowest own SQNR; the expected one stands in where none was measured."""
        known = [row for row in self.tensors if row_db(row) is not None]
        return tuple(sorted(known, key=lambda row: row_db(row) or 0.0)[:10])
