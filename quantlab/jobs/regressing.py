"""Step: two runs and a policy in, a verdict out, and the files that tell it to machines and people."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeAlias

from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.scale_table import ScaleTable
from quantlab.comparison.sample_file import read_samples
from quantlab.errors import InputError, StaleError, UsageError
from quantlab.graph.model import load_model
from quantlab.jobs import places
from quantlab.jobs.comparing import read_comparison
from quantlab.jobs.manifest import Entry, Recipe, file_digest, recorded
from quantlab.jobs.policy_file import read_policy
from quantlab.jobs.run_place import RunPlace
from quantlab.jobs.step import Made, Remake, carry_out, check_output
from quantlab.metrics.names import score_named
from quantlab.numerics.arrays import AnyArray
from quantlab.regression.policy import Policy
from quantlab.regression.regress import regress
from quantlab.regression.regression import Regression
from quantlab.regression.run import Coverage, Run
from quantlab.report.extras import CLASSES, read_class_names
from quantlab.report.precision import INT8, Precision
from quantlab.report.regression_junit import write_regression_junit
from quantlab.report.regression_markdown import write_regression_markdown
from quantlab.report.regression_page import write_regression_page
from quantlab.report.run_folder import HISTOGRAMS
from quantlab.storage.histograms_h5 import read_histograms
from quantlab.storage.scale_table_json import read_scale_table
from quantlab.storage.text import write_text
from quantlab.versions import versions

Sink: TypeAlias = Literal["json", "html", "markdown", "junit"]
SUFFIXES: Mapping[Sink, tuple[str, ...]] = {
    "json": (".json",),
    "html": (".html", ".htm"),
    "markdown": (".md", ".markdown"),
    "junit": (".xml",),
}


@dataclass(frozen=True, slots=True)
class Regressing:
    """Which runs are compared, by what, and what is written.

    Attributes
    ----------
    baseline, candidate
        A run folder of `quantlab run`, or the .json file of `quantlab compare`.
    policy
        The YAML file; None: the default policy.
    outputs
        Kind of a file → where it is written.
    """

    baseline: Path
    candidate: Path
    policy: Path | None = None
    outputs: Mapping[Sink, Path] | None = None


@dataclass(frozen=True, slots=True)
class Regressed:
    """A regression, and the files that were written."""

    found: Regression
    made: tuple[Made, ...]


def regress_runs(what: Regressing, *, remake: Remake = "never") -> Regressed:
    """Compare two runs, and write what is asked for unless it is current.

    Raises
    ------
    QuantlabError
        InputError for a run or a policy that cannot be read, or runs that share no samples; StaleError for a run whose
        files are not of one make, or as `carry_out` tells; UsageError for outputs that cannot be.
    """
    outputs = dict(what.outputs or {})
    _check_outputs(what, outputs)
    policy = Policy() if what.policy is None else read_policy(what.policy)
    counted = policy.coverage is not None or policy.coverage_macs is not None
    baseline, candidate = (read_run(path, coverage=counted) for path in (what.baseline, what.candidate))
    found = regress(baseline, candidate, policy, scores=_scores(baseline, candidate))
    recipe = Recipe("regress", _inputs(what, policy))
    writers: dict[Sink, Callable[[Path], None]] = {
        "json": lambda path: write_text(path, json.dumps(found.to_json(), ensure_ascii=False, indent=1) + "\n"),
        "html": lambda path: write_regression_page(path, found, baseline, candidate),
        "markdown": lambda path: write_regression_markdown(path, found),
        "junit": lambda path: write_regression_junit(path, found),
    }
    made = tuple(Made(path, _written(path, recipe, writers[kind], remake)) for kind, path in outputs.items())
    return Regressed(found, made)


def read_run(path: Path, *, coverage: bool = False) -> Run:
    """Return what a gate knows of a run; histograms are read when they are asked for.

    Parameters
    ----------
    path
        A run folder, or a comparison's file: then scales, histograms and coverage are not known.
    coverage
        Also count what of the INT8 model runs on integers, which takes a look at the whole model.

    Raises
    ------
    InputError
        When the run is missing or damaged.
    StaleError
        When the scales in the folder are not those that were compared.
    """
    place = RunPlace.of(path)
    entry = _entry(place)
    inputs = entry.recipe.inputs if entry else {}
    model = None if place.folder is None else place.folder / places.MODEL
    return Run(
        _name(path, place),
        read_comparison(place.comparison),
        samples=read_samples(place.comparison),
        scales=_scales(place, inputs),
        histograms=None if place.folder is None else _histograms(place.folder),
        coverage=_coverage(place, model) if coverage and model is not None and model.exists() else None,
        model=inputs.get("FP32 model", ""),
        int8_model=inputs.get("INT8 model", ""),
        versions=dict(entry.versions) if entry else {},
        target=_target(model),
        method=place.method,
        class_names=() if place.folder is None else read_class_names(place.folder / CLASSES),
    )


def _check_outputs(what: Regressing, outputs: Mapping[Sink, Path]) -> None:
    for kind, path in outputs.items():
        check_output(path, SUFFIXES[kind], what.policy, what.baseline, what.candidate)
    if len({path.absolute() for path in outputs.values()}) < len(outputs):
        raise UsageError("Two of the outputs are one file: give each its own.")


def _inputs(what: Regressing, policy: Policy) -> dict[str, str]:
    """Return the digests of all that decides the result; a policy counts by what it asks, and so do its slices."""
    asked = json.dumps(asdict(policy), sort_keys=True)
    found = {"policy": f"sha256:{sha256(asked.encode()).hexdigest()}"}
    for role, path in (("baseline", what.baseline), ("candidate", what.candidate)):
        place = RunPlace.of(path)
        home = place.folder
        others = (places.SCALES, CLASSES, *HISTOGRAMS)
        files = [place.comparison, *([] if home is None else [home / name for name in others])]
        digests = [f"{file.name} {file_digest(file)}" for file in files if file.exists()]
        found[role] = f"sha256:{sha256(' '.join([_name(path, place), *digests]).encode()).hexdigest()}"
    return found


def _scores(*runs: Run) -> dict[str, Callable[[AnyArray], float]]:
    """Return what makes a score of the values of each metric whose score is not their mean, by the metric's name."""
    kinds = {kind.name for run in runs if run.samples for kind in run.samples.metrics.values() if not kind.mean}
    named = {name: score_named(name) for name in sorted(kinds)}
    return {name: score for name, score in named.items() if score is not None}


def _written(path: Path, recipe: Recipe, write: Callable[[Path], None], remake: Remake) -> bool:
    def make() -> Mapping[str, str]:
        write(path)
        return versions()

    return carry_out(path, lambda: recipe, make, remake=remake)


def _name(path: Path, place: RunPlace) -> str:
    """Return the run's name: its folder's, as two runs of one job have the same title; a file's with its folder."""
    absolute = path.absolute()
    return absolute.name if place.folder is not None else f"{absolute.parent.name}/{absolute.name}"


def _entry(place: RunPlace) -> Entry | None:
    """Return how the comparison was made, if its folder's manifest tells.

    Raises
    ------
    InputError
        When it was changed since.
    """
    try:
        entry = recorded(place.comparison)
    except InputError:
        if place.folder is None:
            return None  # another program's manifest beside a comparison alone says nothing of it
        raise
    if entry is not None and entry.sha256 != file_digest(place.comparison):
        raise InputError(f"'{place.comparison}' was changed after quantlab made it: run the job again.")
    return entry


def _scales(place: RunPlace, inputs: Mapping[str, str]) -> ScaleTable | None:
    path = None if place.folder is None else place.folder / places.SCALES
    if path is None or not path.exists():
        return None
    if inputs.get("scales", "") not in ("", file_digest(path)):
        raise StaleError(
            f"'{path}' holds other scales than '{place.comparison.name}' was made with: run the job again."
        )
    return read_scale_table(path)


def _histograms(folder: Path) -> Callable[[], HistogramSet | None]:
    def read() -> HistogramSet | None:
        path = next((folder / name for name in HISTOGRAMS if (folder / name).exists()), None)
        return None if path is None else read_histograms(path)

    return read


def _coverage(place: RunPlace, path: Path) -> Coverage:
    """Count operators whose result comes from integers, and their multiply-accumulates."""
    found = Precision.of_model(load_model(path), place.notes.floats)
    done = [layer for layer in found.layers if layer.computes == INT8]
    macs = found.total if not found.unknown else None
    return Coverage(len(done), len(found.layers), None if macs is None else sum(one.macs or 0 for one in done), macs)


def _target(model: Path | None) -> str:
    entry: Any = None if model is None or not model.exists() else recorded(model)
    return str(entry.recipe.options.get("target", "")) if entry else ""
