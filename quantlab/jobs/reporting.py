"""Step: a folder of a run, a search or a training in; a page, Markdown, JSON or Parquet out."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TypeAlias

from quantlab.calibration.provenance import DataIdentity
from quantlab.errors import InputError, UsageError
from quantlab.jobs import remarks
from quantlab.jobs.manifest import NAME, Recipe, file_digest, listed, recorded
from quantlab.jobs.step import Made, Remake, carry_out, check_output
from quantlab.report.markdown import write_markdown
from quantlab.report.page import write_report
from quantlab.report.report_data import ReportData
from quantlab.report.report_json import write_json
from quantlab.report.run_folder import read_run
from quantlab.report.tensor_parquet import write_parquet
from quantlab.storage.scale_table_json import read_scale_table
from quantlab.versions import versions

_Writer: TypeAlias = Callable[[Path, ReportData], None]

WRITERS: Mapping[str, _Writer] = {
    ".html": write_report,
    ".htm": write_report,
    ".md": write_markdown,
    ".json": write_json,
    ".parquet": write_parquet,
}
_COMMAND = "report"


def report_run(folder: Path, output: Path, *, remake: Remake = "never") -> Made:
    """Write one report on a folder, unless it is current.

    Raises
    ------
    QuantlabError
        As `write_reports`.
    """
    return write_reports(folder, (output,), remake=remake)[0]


def write_reports(
    folder: Path, outputs: Sequence[Path], *, class_names: Path | None = None, remake: Remake = "never"
) -> tuple[Made, ...]:
    """Write each report on a folder that is not current; its suffix says what it is to be.

    Parameters
    ----------
    class_names
        A text file with a class name a line; by default the folder's `classes.txt`.

    Raises
    ------
    QuantlabError
        InputError for a folder that holds no run, or a damaged artefact; UsageError for an output of another suffix, or
        one that is an artefact of the run; MachineError for Parquet without pyarrow; StaleError as `carry_out` tells.
    """
    if not folder.is_dir():
        raise InputError(f"There is no run folder '{folder}'; `quantlab run` makes one.")
    for output in outputs:
        _check(output, class_names)
    _check_unchanged(folder)

    @cache
    def recipe() -> Recipe:
        inputs = {file.relative_to(folder).as_posix(): file_digest(file) for file in _artefacts(folder, outputs)}
        names = {"class names": file_digest(class_names)} if class_names else {}
        return Recipe(_COMMAND, inputs | names)

    @cache
    def data() -> ReportData:
        return read_run(folder, class_names=class_names)

    def write(output: Path) -> Made:
        def make() -> Mapping[str, str]:
            WRITERS[output.suffix.lower()](output, data())
            return versions()

        return Made(output, carry_out(output, recipe, make, remake=remake), notes)

    notes = remarks.on_sets(_sets(folder))
    return tuple(write(output) for output in outputs)


def _check(output: Path, class_names: Path | None) -> None:
    """Refuse an output that is no report, or would replace what the report is made from."""
    check_output(output, tuple(WRITERS), class_names)
    entry = recorded(output) if output.exists() else None
    if entry is not None and entry.recipe.command != _COMMAND:
        raise UsageError(
            f"'{output}' is an artefact of the run, made by `{entry.recipe.command}`: give the report another name."
        )


def _check_unchanged(folder: Path) -> None:
    """Refuse to report on figures that nobody measured."""
    for name, entry in listed(folder).items():
        path = folder / name
        if path.is_file() and entry.recipe.command != _COMMAND and file_digest(path) != entry.sha256:
            raise InputError(f"'{path}' was changed after quantlab made it: make it anew before reporting on it.")


def _sets(folder: Path) -> tuple[DataIdentity, ...]:
    """Return the sets behind the chosen scales, or behind all of the folder's where none were chosen."""
    chosen = folder / "scales.json"
    tables = [read_scale_table(path) for path in ([chosen] if chosen.exists() else folder.glob("scales/*.json"))]
    return tuple(data for table in tables if table.provenance for data in table.provenance.chosen_on)


def _artefacts(folder: Path, outputs: Sequence[Path]) -> list[Path]:
    """Return the files of the folder that a report may read: no reports, no manifest, nothing hidden."""
    reports = {folder / name for name, entry in listed(folder).items() if entry.recipe.command == _COMMAND}
    reports |= {path.absolute() for path in outputs}
    files = [path for path in (*folder.glob("*"), *folder.glob("*/*")) if path.is_file()]
    kept = (p for p in files if p.name != NAME and p.suffix not in (".html", ".htm") and not p.name.startswith("."))
    kept = (p for p in kept if ".jsonl" not in p.name)  # logs, which grow with every run
    return sorted(path for path in kept if path not in reports and path.absolute() not in reports)
