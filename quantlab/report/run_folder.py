"""Reads a folder that `quantlab run`, `tune` or `qat` left; whatever is missing is left off the page.

Of `run`: `histograms.h5` (else `histograms-tensorrt.h5`), `scales/<method>.json`, `scales.json` (the chosen ones), `tuning/<method>.json`,
`compare.json`, `compare-ort.json`, and `run.json`, which holds what no other artefact tells: see `RunNotes`. What else may lie there,
or in a folder inside: see `extras`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.scale_table import ScaleTable
from quantlab.comparison.comparison import Comparison
from quantlab.comparison.sample_file import read_samples
from quantlab.comparison.sample_table import SampleTable
from quantlab.errors import InputError
from quantlab.report import extras
from quantlab.report.build import build
from quantlab.report.extras import read_form, with_extras
from quantlab.report.report_data import ReportData
from quantlab.report.run_parts import RunParts
from quantlab.report.searched import read_training
from quantlab.storage.histograms_h5 import read_histograms
from quantlab.storage.json_documents import read_document
from quantlab.storage.scale_table_json import read_scale_table
from quantlab.storage.text import write_text

NOTES = "run.json"
HISTOGRAMS = ("histograms.h5", "histograms-tensorrt.h5")
SCHEMA = "quantlab-run"
VERSION = 1


@dataclass(frozen=True, slots=True)
class RunNotes:
    """What the report says and no other artefact holds.

    Attributes
    ----------
    title
        The page's heading; empty names the model.
    chosen
        The method of the result, as its file in `scales` is called; None: the table that equals `scales.json`.
    max_drop
        Points that INT8 may lose; None: no limit.
    floats
        Tensor or operator → why it stays float.
    methods
        Name of a file in `scales` and `tuning` → the method as people write it, in the page's order; empty: all files
        that go with `scales.json`, under their own names.
    """

    title: str = ""
    chosen: str | None = None
    max_drop: float | None = None
    floats: Mapping[str, str] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)


class _Notes(BaseModel):
    """A quantlab run."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    schema_name: Literal["quantlab-run"] = Field(alias="schema")
    version: Literal[1]
    title: str = ""
    chosen: str | None = None
    max_drop: float | None = None
    floats: dict[str, str] = Field(default_factory=dict)
    methods: dict[str, str] = Field(default_factory=dict)


def write_notes(folder: Path, notes: RunNotes) -> None:
    """Write `run.json`, whole or not at all; equal notes make equal bytes.

    Raises
    ------
    InputError
        When a name cannot be written as UTF-8.
    MachineError
        No space, no permission.
    """
    fields = {
        "title": notes.title,
        "chosen": notes.chosen,
        "max_drop": notes.max_drop,
        "floats": dict(notes.floats),
        "methods": dict(notes.methods),
    }
    document = {"schema": SCHEMA, "version": VERSION} | fields
    write_text(folder / NOTES, json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n")


def read_notes(folder: Path) -> RunNotes:
    """Return the notes in `run.json`, or empty ones.

    Raises
    ------
    InputError
        When the file is damaged, foreign or of a newer version.
    """
    if not (folder / NOTES).exists():
        return RunNotes()
    found = read_document(folder / NOTES, _Notes, schema=SCHEMA, version=VERSION, what="the notes of a run")
    return RunNotes(found.title, found.chosen, found.max_drop, found.floats, found.methods)


def read_run(folder: Path, *, class_names: Path | None = None) -> ReportData:
    """Return what the page shows of a run.

    Parameters
    ----------
    class_names
        A text file with a class name a line, from class 0; by default the folder's `classes.txt`, if there is one.

    Raises
    ------
    InputError
        When the folder is missing or holds nothing of a run, or an artefact in it is damaged, foreign or of another
        model than the rest.
    """
    if not folder.is_dir():
        raise InputError(f"There is no run folder '{folder}'; `quantlab run` makes one.")
    parts = with_extras(_training(folder) if extras.is_training(folder) else _run(folder), folder, class_names)
    if not (parts.tables or parts.tuning or parts.final or parts.ort or parts.histograms or parts.search):
        raise InputError(
            f"'{folder}' holds nothing to report on: no histograms.h5, no scales, no compare.json, no tune.json. Give the "
            "output folder of `quantlab run`, `quantlab tune` or `quantlab qat`."
        )
    return build(parts)


def _run(folder: Path) -> RunParts:
    notes = read_notes(folder)
    single = _optional_table(folder / "scales.json")
    tables = _tables(folder, notes, single)
    searched = (folder / extras.SEARCH).exists() and len(tables) == 1
    names = notes.methods or {stem: "tuning" if searched else stem for stem in tables}
    chosen = notes.chosen or _equal(single, tables)
    return RunParts(
        title=notes.title,
        tables={names.get(stem, stem): table for stem, table in tables.items()},
        chosen=names.get(chosen, chosen) if chosen else None,
        histograms=_histograms(folder),
        tuning={name: _comparison(path) for stem, name in names.items() if (path := _tuned(folder, stem)).exists()},
        final=_optional(folder / "compare.json"),
        samples=_samples(folder / "compare.json"),
        ort=_optional(folder / "compare-ort.json"),
        floats=notes.floats,
        max_drop=notes.max_drop,
    )


def _training(folder: Path) -> RunParts:
    """Return the best rung of a training as the result."""
    training = read_training(folder / extras.TRAINING)
    stem = training.best.replace(" ", "-").lower()
    scales = folder / {"PTQ": "scales.json", "tuned PTQ": "tuned.scales.json"}.get(training.best, "qat.scales.json")
    table, counted = _optional_table(scales), _histograms(folder)
    # Histograms are of the network before tuning and training: beside scales of what came of these they would mislead.
    same = (
        table is None
        or counted is None
        or table.provenance is None
        or table.provenance.model == counted.provenance.model
    )
    return RunParts(
        tables={training.best: table} if table else {},
        histograms=counted if same else None,
        final=_optional(folder / f"compare.{stem}.json"),
        samples=_samples(folder / f"compare.{stem}.json"),
        max_drop=training.target.max_drop,
        training=training,
        training_is_result=True,
    )


def _histograms(folder: Path) -> HistogramSet | None:
    found = next((path for path in map(folder.joinpath, HISTOGRAMS) if path.exists()), None)
    return read_histograms(found) if found else None


def _tables(folder: Path, notes: RunNotes, single: ScaleTable | None) -> dict[str, ScaleTable]:
    """Return the tables of all methods by file name; `scales.json` stands alone where they are not kept."""
    files = sorted((folder / "scales").glob("*.json"))
    if notes.methods:
        files = [path for stem in notes.methods if (path := folder / "scales" / f"{stem}.json").exists()]
    found = {path.stem: read_scale_table(path) for path in files}
    kept = {name: table for name, table in found.items() if single is None or _together(table, single)}
    return kept or ({notes.chosen or "scales": single} if single else {})


def _together(table: ScaleTable, single: ScaleTable) -> bool:
    """Tell whether a table is of the chosen one's model and data, and not left from an earlier job in the folder."""
    one, two = table.provenance, single.provenance
    return one is None or two is None or (one.model == two.model and set(one.chosen_on) <= set(two.chosen_on))


def _equal(single: ScaleTable | None, tables: Mapping[str, ScaleTable]) -> str | None:
    """Return the method whose rows are those of `scales.json`."""
    return next((name for name, table in tables.items() if single and table.rows == single.rows), None)


def _tuned(folder: Path, stem: str) -> Path:
    return folder / "tuning" / f"{stem}.json"


def _optional_table(path: Path) -> ScaleTable | None:
    return read_scale_table(path) if path.exists() else None


def _optional(path: Path) -> Comparison | None:
    return _comparison(path) if path.exists() else None


def _samples(path: Path) -> SampleTable | None:
    return read_samples(path) if path.exists() else None


def _comparison(path: Path) -> Comparison:
    return read_form(path, Comparison, "a comparison")
