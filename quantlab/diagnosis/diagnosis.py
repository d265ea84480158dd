"""`diagnose`: one value that joins who set the ranges, whether the data suffice and fit, and where samples flip."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import PlainValidator

from quantlab import engines
from quantlab.builder import check_model, provenance_of
from quantlab.calibration.methods.minmax import MinMax
from quantlab.calibration.methods.squared_error import SquaredError
from quantlab.calibration.provenance import DataIdentity
from quantlab.calibration.ranges import Range
from quantlab.calibration.scale_table import ScaleTable
from quantlab.collector.collect import DEFAULT_BUDGET, Progress
from quantlab.comparison.one_pass import Pair
from quantlab.comparison.tensors import TensorProbe
from quantlab.data.batch import Dataset
from quantlab.data.stream import Stream, as_dataset
from quantlab.diagnosis import extremes as ranges
from quantlab.diagnosis.convergence import Convergence, convergence
from quantlab.diagnosis.drift import Drift, find_drift
from quantlab.diagnosis.extremes import Extreme, Setter, find_extremes
from quantlab.diagnosis.flips import Flips, find_flips, inner_tensors
from quantlab.diagnosis.frames import flips_frame, tensors_frame
from quantlab.diagnosis.preprocessing import Preprocessing, check_preprocessing
from quantlab.diagnosis.survey import Survey, SurveyOptions, survey
from quantlab.engines.custom_ops import libraries
from quantlab.engines.ort_session import OrtOptions
from quantlab.errors import UsageError
from quantlab.graph.model import Model, load_model
from quantlab.numerics.arrays import Tensors
from quantlab.numerics.histogram import Histogram
from quantlab.storage.dataclass_json import Form

if TYPE_CHECKING:
    import pandas as pd

FORM = Form("quantlab-diagnosis", "diagnosis", "diagnose again")

_PROBE_BATCH = 8
_Identity: TypeAlias = Annotated[DataIdentity, PlainValidator(DataIdentity.from_json)]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found; each part says itself in one sentence.

    Attributes
    ----------
    model, backend
        The float model's name, and what ran it.
    data
        The calibration samples.
    preprocessing
        Whether the inputs are as the network expects.
    extremes
        Who set each tensor's range, in graph order.
    convergence
        For each method, how its thresholds settle.
    drift
        None without evaluation data.
    flips
        None without an INT8 model.
    """

    model: str
    backend: str
    data: _Identity
    preprocessing: Preprocessing
    extremes: tuple[Extreme, ...]
    convergence: tuple[Convergence, ...]
    drift: Drift | None = None
    flips: Flips | None = None

    @property
    def setters(self) -> tuple[Setter, ...]:
        """The samples that alone set ranges."""
        return ranges.setters(self.extremes)

    @property
    def findings(self) -> tuple[str, ...]:
        """All findings, a sentence each."""
        found = [self.preprocessing.sentence, ranges.sentence({e.tensor: e for e in self.extremes})]
        found += [settling.sentence for settling in self.convergence]
        found += [part.sentence for part in (self.drift, self.flips) if part is not None]
        return tuple(found)

    def frame(self) -> "pd.DataFrame":
        """Return one line a tensor: who set its range, the thresholds' intervals, and the drift; shares 0 … 1."""
        return tensors_frame(self.extremes, self.convergence, self.drift)

    def flips_frame(self) -> "pd.DataFrame":
        """Return one line a flipped sample; errors in dB, the margin in the scores' unit."""
        return flips_frame(self.flips)

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return FORM.write(self) | {"data": self.data.to_json()}

    @classmethod
    def from_json(cls, value: object) -> "Diagnosis":
        """Read what `to_json` returned, as JSON values or as text.

        Raises
        ------
        InputError
            When it is no diagnosis, or a field is missing, unknown or of another type.
        """
        return FORM.read(cls, value)

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in self.findings)
        table = self.frame().to_html(escape=True, index=False, max_rows=40)
        return f"<p>{escape(self.model)} on {self.data.count} samples of «{escape(self.data.name)}»</p><ul>{items}</ul>{table}"


@dataclass(frozen=True, slots=True)
class DiagnoseOptions:
    """How to diagnose.

    Attributes
    ----------
    methods
        Whose thresholds are followed; the last one's scales are the yardstick of drift where no table is given.
    tolerance
        Relative half-width of a threshold's 95 % interval that is small enough.
    expose, target
        Which tensors, as `ql.engines.ort` takes them.
    budget, nonfinite
        As in `CollectOptions`; but the tensors are all seen at once, one sample at a time if need be.
    threads
        Of the runtime; None is one a core.
    custom_ops
        Libraries, or Python files, with operators that ONNX Runtime lacks.
    optimize_int8
        Run the INT8 model as ONNX Runtime optimizes it; off, it simulates TensorRT.
    progress
        Told the samples done, of all passes together, and how many there will be.
    """

    methods: tuple[Callable[[Histogram], Range], ...] = (MinMax(), SquaredError())
    tolerance: float = 0.02
    expose: str | tuple[str, ...] = "quantizable"
    target: str = "tensorrt"
    budget: int = DEFAULT_BUDGET
    nonfinite: Literal["refuse", "count"] = "refuse"
    threads: int | None = None
    custom_ops: tuple[str, ...] = ()
    optimize_int8: bool = False
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if not self.methods:
            raise UsageError("diagnose follows at least one method, such as ql.SquaredError().")
        if not 0 < self.tolerance < 1:
            raise UsageError(f"A tolerance is a share between 0 and 1, as 0.02, not {self.tolerance!r}.")
        for method in self.methods:
            if isinstance(method, type) or not callable(method):
                raise UsageError(f"A method is an object such as ql.SquaredError(), not {method!r:.60}.")
            method(Histogram.of(np.array([0.5, 1.0])))  # one for another grid says so before anything runs


_Data: TypeAlias = Dataset | Iterable[Tensors]


def diagnose(
    model: Any,
    data: _Data,
    *,
    evaluation: _Data | None = None,
    int8: Any = None,
    table: ScaleTable | None = None,
    options: DiagnoseOptions | None = None,
) -> Diagnosis:
    """Return what can be found wrong with a calibration, each in words and numbers.

    Parameters
    ----------
    model
        The float model: path, ModelProto or Model.
    data
        The calibration samples; read once.
    evaluation
        Samples that should look like them: drift is told, and flipped samples are looked for here.
    int8
        The Q/DQ model; None leaves the flipped samples out. Without evaluation data they are looked for in `data`, which
        is read again.
    table
        The scales in use, for drift.

    Raises
    ------
    InputError
        For a model or data that cannot be used, NaN or infinity, or no sample.
    StaleError
        When the INT8 model or the table was made from another model.
    """
    settings = options or DiagnoseOptions()
    loaded = load_model(model)
    quantized = None if int8 is None else load_model(getattr(int8, "model", int8))
    check_model(None if table is None else table.provenance, loaded)
    if quantized is not None:
        check_model(provenance_of(quantized), loaded)
    source, other = as_dataset(data), None if evaluation is None else as_dataset(evaluation)
    scored = None if quantized is None else (other or source)
    steps = _Steps(settings.progress, [one for one in (source, other, scored) if one is not None])
    with engines.ort(
        loaded,
        expose=settings.expose,
        target=settings.target,
        threads=settings.threads,
        custom_ops=settings.custom_ops,
    ) as engine:
        backend = engine.backend
        seen = survey(engine, source, options=_looking(settings, steps))
        steps = steps.after(seen)
        later = None if other is None else survey(engine, other, options=_looking(settings, steps))
        steps = steps if later is None else steps.after(later)
    ort = OrtOptions(threads=settings.threads, libraries=libraries(settings.custom_ops))
    return Diagnosis(
        loaded.name,
        backend,
        seen.data,
        check_preprocessing(loaded, seen.chosen, seen.data.preprocess, ort),
        find_extremes(seen, settings.methods),
        tuple(convergence(seen, method, settings.tolerance) for method in settings.methods),
        None if later is None else find_drift(seen, later, settings.methods[-1], table),
        None if quantized is None or scored is None else _flips(loaded, quantized, scored, settings, steps),
    )


class _Steps:
    """Progress over several passes."""

    def __init__(self, told: Progress | None, passes: list[Dataset], done: int = 0) -> None:
        self._told, self._passes, self._done = told, passes, done

    def after(self, seen: Survey) -> "_Steps":
        """Return the steps that follow a pass."""
        return _Steps(self._told, self._passes, self._done + len(seen.samples))

    def __call__(self, done: int, _: int | None) -> None:
        if self._told is not None:
            known = not any(isinstance(data, Stream) for data in self._passes)
            self._told(self._done + done, sum(len(data) for data in self._passes) if known else None)


def _looking(settings: DiagnoseOptions, steps: _Steps) -> SurveyOptions:
    return SurveyOptions(budget=settings.budget, nonfinite=settings.nonfinite, progress=steps)


def _flips(fp32: Model, int8: Model, data: Dataset, settings: DiagnoseOptions, steps: _Steps) -> Flips:
    common: dict[str, Any] = {"threads": settings.threads, "custom_ops": settings.custom_ops}
    shown = inner_tensors(fp32, int8)
    with ExitStack() as opened:
        one = opened.enter_context(engines.ort(fp32, **common))
        two = opened.enter_context(engines.ort(int8, optimize=settings.optimize_int8, **common))
        inner = opened.enter_context(engines.ort(fp32, expose=shown, optimize=False, **common))
        inner8 = opened.enter_context(engines.ort(int8, expose=shown, optimize=False, **common))
        probe = TensorProbe(inner, inner8, tensors=shown, batch=_PROBE_BATCH)
        return find_flips(Pair(one, two, probe), data, progress=steps)
