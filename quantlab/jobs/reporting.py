"""Step: a run folder in, one HTML page out."""

from collections.abc import Mapping
from pathlib import Path

from quantlab.calibration.provenance import DataIdentity
from quantlab.errors import InputError
from quantlab.jobs import remarks
from quantlab.jobs.manifest import NAME, Recipe, file_digest
from quantlab.jobs.step import Made, Remake, carry_out, check_output
from quantlab.report.page import write_report
from quantlab.report.run_folder import read_run
from quantlab.storage.scale_table_json import read_scale_table
from quantlab.versions import versions

_PAGES = (".html", ".htm")


def report_run(folder: Path, output: Path, *, remake: Remake = "never") -> Made:
    """Write the report on a run folder, unless it is current.

    Raises
    ------
    QuantlabError
        InputError for a folder that holds no run, or a damaged artefact; StaleError as `carry_out` tells.
    """
    if not folder.is_dir():
        raise InputError(f"There is no run folder '{folder}'; `quantlab run` makes one.")
    check_output(output, _PAGES)

    def recipe() -> Recipe:
        return Recipe("report", {file.relative_to(folder).as_posix(): file_digest(file) for file in _artefacts(folder)})

    def make() -> Mapping[str, str]:
        write_report(output, read_run(folder))
        return versions()

    fresh = carry_out(output, recipe, make, remake=remake)
    return Made(output, fresh, remarks.on_sets(_sets(folder)))


def _sets(folder: Path) -> tuple[DataIdentity, ...]:
    """Return the sets behind the chosen scales, or behind all of the folder's where none were chosen."""
    chosen = folder / "scales.json"
    tables = [read_scale_table(path) for path in ([chosen] if chosen.exists() else folder.glob("scales/*.json"))]
    return tuple(data for table in tables if table.provenance for data in table.provenance.chosen_on)


def _artefacts(folder: Path) -> list[Path]:
    files = [path for path in (*folder.glob("*"), *folder.glob("*/*")) if path.is_file()]
    return sorted(p for p in files if p.name != NAME and p.suffix not in _PAGES and not p.name.startswith("."))
