"""Step: a float model and data in, a diagnosis out; written to a file only where one is named."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from quantlab.calibration.methods.minmax import MinMax
from quantlab.calibration.methods.squared_error import SquaredError
from quantlab.collector.collect import DEFAULT_BUDGET
from quantlab.data import Dataset
from quantlab.diagnosis.diagnosis import DiagnoseOptions, Diagnosis, diagnose
from quantlab.errors import InputError
from quantlab.graph.model import Model, load_model
from quantlab.jobs import data_source
from quantlab.jobs.checks import check_forms
from quantlab.jobs.collecting import Expose, fitting, inputs_for, notes_on, operators
from quantlab.jobs.comparing import mode_for
from quantlab.jobs.data_source import DataSource, open_data
from quantlab.jobs.manifest import Recipe, file_digest
from quantlab.jobs.quantizing import read_scales
from quantlab.jobs.step import Made, Progress, Remake, carry_out, check_output
from quantlab.storage.text import read_text, write_text
from quantlab.versions import versions


@dataclass(frozen=True, slots=True)
class Diagnosing:
    """What to diagnose, on what.

    Attributes
    ----------
    model, data
        The float network and the calibration samples.
    output
        The .json file; None writes nothing.
    evaluation
        Samples that should look like the calibration's.
    int8, scales
        The Q/DQ model, and the scale table or cache in use.
    methods, tolerance
        As in `DiagnoseOptions`.
    expose, target, budget, nonfinite, custom_ops
        As in `Collecting`.
    """

    model: Path
    data: DataSource
    output: Path | None = None
    evaluation: DataSource | None = None
    int8: Path | None = None
    scales: Path | None = None
    methods: tuple[Any, ...] = (MinMax(), SquaredError())
    tolerance: float = 0.02
    expose: Expose = "quantizable"
    target: str = "tensorrt"
    budget: int = DEFAULT_BUDGET
    nonfinite: Literal["refuse", "count"] = "refuse"
    custom_ops: tuple[Path, ...] = ()


def diagnose_model(
    what: Diagnosing, *, remake: Remake = "never", progress: Progress | None = None
) -> tuple[Diagnosis, Made | None]:
    """Return the diagnosis, read back where the file is current, and what became of the file.

    Raises
    ------
    QuantlabError
        InputError for models, data or values that cannot be used; StaleError for an INT8 model or scales made from another
        model, or as `carry_out` tells.
    """
    if what.output is not None:
        check_output(what.output, (".json",), what.model, what.int8, what.scales)
    model = load_model(what.model)
    int8 = None if what.int8 is None else load_model(what.int8)
    if int8 is not None:
        check_forms(model, int8)
    sets = _open(what, model)
    settings = _settings(what, int8, progress)
    if what.output is None:
        return _diagnosed(what, (model, int8), sets, settings), None
    output, found = what.output, list[Diagnosis]()

    def make() -> Mapping[str, str]:
        found.append(_diagnosed(what, (model, int8), sets, settings))
        write_text(output, json.dumps(found[0].to_json(), ensure_ascii=False, indent=1) + "\n")
        return versions(found[0].backend)

    fresh = carry_out(output, lambda: _recipe(what, (model, int8), sets), make, remake=remake)
    notes = tuple(n for source, data in sets for n in notes_on(source, data_source.skipped(data)))
    return found[0] if found else read_diagnosis(output), Made(output, fresh, notes)


def read_diagnosis(path: Path) -> Diagnosis:
    """Return the diagnosis in a file.

    Raises
    ------
    InputError
        When the file is missing, damaged or something else, naming it.
    """
    text = read_text(path, "a diagnosis")
    try:
        return Diagnosis.from_json(text)
    except InputError as error:
        raise InputError(f"'{path}': {error}") from error


_Sets = list[tuple[DataSource, Dataset]]


def _open(what: Diagnosing, model: Model) -> _Sets:
    """Open the calibration data and, where there are any, the evaluation data."""
    found = []
    for source in (what.data, what.evaluation):
        if source is not None:
            fitted = fitting(source, model)
            found.append((source, open_data(fitted, inputs_for(fitted, model, what.custom_ops))))
    return found


def _settings(what: Diagnosing, int8: Model | None, progress: Progress | None) -> DiagnoseOptions:
    return DiagnoseOptions(
        methods=what.methods,
        tolerance=what.tolerance,
        expose=what.expose,
        target=what.target,
        budget=what.budget,
        nonfinite=what.nonfinite,
        custom_ops=tuple(str(path) for path in what.custom_ops),
        optimize_int8=int8 is not None and mode_for(int8) == "optimize",
        progress=progress,
    )


def _diagnosed(
    what: Diagnosing, models: tuple[Model, Model | None], sets: _Sets, settings: DiagnoseOptions
) -> Diagnosis:
    model, int8 = models
    return diagnose(
        model,
        sets[0][1],
        evaluation=sets[1][1] if len(sets) > 1 else None,
        int8=int8,
        table=None if what.scales is None else read_scales(what.scales, model),
        options=settings,
    )


def _recipe(what: Diagnosing, models: tuple[Model, Model | None], sets: _Sets) -> Recipe:
    model, int8 = models
    inputs = {"model": model.digest, **operators(what.custom_ops)}
    for name, (source, data) in zip(("", "evaluation "), sets, strict=False):
        digests = data_source.digests(source, data, labels=True)
        inputs |= {f"{name}{key}": digest for key, digest in digests.items()}
    if int8 is not None and what.int8 is not None:
        inputs |= {"INT8 model": file_digest(what.int8)}
    if what.scales is not None:
        inputs |= {"scales": file_digest(what.scales)}
    options: dict[str, Any] = {
        "methods": [repr(method) for method in what.methods],
        "tolerance": what.tolerance,
        "expose": what.expose,
        "target": what.target,
        "nonfinite": what.nonfinite,
    }
    return Recipe("diagnose", inputs, options | data_source.options(what.data))
