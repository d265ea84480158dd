"""Step: a float model and data in; a folder with the INT8 network that `tune` found, its scales and the whole search out."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from quantlab.builder import QuantizeOptions
from quantlab.data import Dataset
from quantlab.errors import InputError, UsageError
from quantlab.graph.model import Model, load_model, write_model
from quantlab.jobs import data_source, remarks
from quantlab.jobs.checks import check_float, check_target
from quantlab.jobs.collecting import fitting, inputs_for, notes_on
from quantlab.jobs.data_source import DataSource, open_data
from quantlab.jobs.step import check_output
from quantlab.python_file import run_python_file
from quantlab.storage.files import save
from quantlab.storage.text import write_text
from quantlab.tuning.ladder import Watch
from quantlab.tuning.scoring import Fidelity
from quantlab.tuning.target import Target
from quantlab.tuning.trial import Trial
from quantlab.tuning.tune import RUNGS, TuneOptions, tune
from quantlab.tuning.tuned import Tuned

JOURNAL = "search"
FILES = ("model.int8.onnx", "prepared.onnx", "scales.json", "tune.json", "trials.csv")


@dataclass(frozen=True, slots=True)
class Searching:
    """What to search for, with what.

    Attributes
    ----------
    model
        The float model.
    data, tuning, evaluation
        What calibrates, what trials are measured on (None: `data`), and what chooses nothing (None: no last word).
    output
        The folder; the search itself is kept in its `search` and goes on there.
    target
        What may be lost.
    options
        Target runtime, form and head of the INT8 model.
    fidelity
        «file.py:function» that compares FP32's outputs with INT8's.
    rungs
        Which to climb.
    samples
        Tuning samples at most.
    labels
        False: leave labels out.
    modes
        Measure other modes too.
    """

    model: Path
    data: DataSource
    output: Path
    tuning: DataSource | None = None
    evaluation: DataSource | None = None
    target: Target = field(default_factory=Target)
    options: QuantizeOptions = field(default_factory=QuantizeOptions)
    fidelity: str | None = None
    rungs: tuple[str, ...] = tuple(RUNGS)
    samples: int | None = None
    labels: bool = True
    modes: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to.

    Attributes
    ----------
    tuned
        The result.
    paths
        The files that hold it.
    notes
        Sentences that the user should read.
    """

    tuned: Tuned
    paths: tuple[Path, ...]
    notes: tuple[str, ...]


def search(what: Searching, *, fresh: bool = False, on_trial: Callable[[Trial], None], watch: Watch) -> Found:
    """Search, or go on with a search, and write what it found.

    Raises
    ------
    QuantlabError
        As `tune`; UsageError for an output that is a file, would replace the model, or for a fidelity without function.
    """
    _check(what)
    model = load_model(what.model)
    check_float(model)
    opened = [_opened(source, model) for source in (what.data, what.tuning, what.evaluation)]
    if opened[0] is None:
        raise UsageError("Give calibration data with --data.")
    settings = TuneOptions(
        quantize=what.options,
        metrics=None if what.labels else (),
        fidelity=None if what.fidelity is None else _fidelity(what.fidelity),
        rungs=what.rungs,
        samples=what.samples,
        modes=what.modes,
        folder=what.output / JOURNAL,
        fresh=fresh,
        on_trial=on_trial,
        watch=watch,
    )
    found = tune(model, opened[0], tuning=opened[1], evaluation=opened[2], target=what.target, options=settings)
    sources = zip((what.data, what.tuning, what.evaluation), opened, strict=True)
    return Found(found, _written(found, what.output), tuple(dict.fromkeys(_notes(found, sources))))


def _check(what: Searching) -> None:
    """Refuse, before any work, what could not end well."""
    if what.output.exists() and not what.output.is_dir():
        raise UsageError(f"'{what.output}' is a file; the output of tune is a folder.")
    for name in FILES:
        check_output(what.output / name, (), what.model)
    check_target(what.options.target)
    if what.target.min_fidelity is not None and what.fidelity is None:
        raise UsageError(
            f"A fidelity of {what.target.min_fidelity:g} is asked for: name the function that compares with "
            "--fidelity FILE.py:FUNCTION."
        )


def _notes(found: Tuned, sources: Iterable[tuple[DataSource | None, Dataset | None]]) -> Iterator[str]:
    for source, data in sources:
        if source is not None and data is not None:
            yield from notes_on(source, data_source.skipped(data))
    yield from remarks.on_table(found.table)


def _opened(source: DataSource | None, model: Model) -> Dataset | None:
    if source is None:
        return None
    fitted = fitting(source, model)
    return open_data(fitted, inputs_for(fitted, model, ()))


def _written(found: Tuned, folder: Path) -> tuple[Path, ...]:
    paths = tuple(folder / name for name in FILES)
    int8, prepared, scales, document, trials = paths
    save(found.quantized(), int8)
    write_model(found.candidate.model, prepared)
    save(found.table, scales)
    write_text(document, json.dumps(found.to_json(), ensure_ascii=False, indent=1) + "\n")
    write_text(trials, found.frame().to_csv(index=False))
    return paths


def _fidelity(named: str) -> Fidelity:
    place, colon, name = named.rpartition(":")
    path = Path(place if colon else named)
    if not path.is_file():
        raise InputError(f"'{path}' is no file; --fidelity is «file.py:function».")
    module = run_python_file(path, "The file of the comparison")
    function = getattr(module, name if colon else "fidelity", None)
    if not callable(function):
        raise InputError(f"'{path}' has no function «{name if colon else 'fidelity'}».")
    try:
        inspect.signature(function).bind({}, {})
    except (TypeError, ValueError) as error:
        raise InputError(
            f"«{name if colon else 'fidelity'}» in '{path}' does not take two arguments, FP32's outputs and INT8's, each "
            f"{{output name: array}} ({error})."
        ) from error
    found: Fidelity = function
    return found


def beside(source: DataSource, place: str | None) -> DataSource | None:
    """Return the same declaration for other data; None for none."""
    return None if place is None else replace(source, place=place, random=None)
