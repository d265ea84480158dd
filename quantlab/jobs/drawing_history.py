"""Step: a history in, a picture or a page of its trends out."""

import io
from collections.abc import Mapping
from pathlib import Path

from quantlab.errors import InputError
from quantlab.jobs.manifest import Recipe, file_digest
from quantlab.jobs.step import Made, Remake, carry_out, check_output
from quantlab.plots.trends import trends
from quantlab.report.regression_history import write_history_page
from quantlab.storage.run_history import FILE, history
from quantlab.storage.run_record import History
from quantlab.storage.text import write_bytes
from quantlab.versions import versions

SUFFIXES = (".png", ".svg", ".html", ".htm")


def draw_history(folder: Path, output: Path, *, name: str | None = None, remake: Remake = "never") -> Made:
    """Write the trends of a history, or of its runs of one name, unless they are current.

    Raises
    ------
    QuantlabError
        InputError for a history that cannot be read or has no such run; UsageError where nothing can be drawn;
        StaleError as `carry_out` tells.
    """
    check_output(output, SUFFIXES, folder / FILE)
    whole = history(folder)
    found = whole if name is None else whole.of(name)
    if not found.runs:
        raise InputError(f"The history in '{folder}' has no run{'' if name is None else f' of the name «{name}»'}.")

    def make() -> Mapping[str, str]:
        _write(found, output)
        return versions()

    recipe = Recipe("history plot", {"history": file_digest(folder / FILE)}, {"name": name})
    return Made(output, carry_out(output, lambda: recipe, make, remake=remake))


def _write(found: History, output: Path) -> None:
    suffix = output.suffix.lower()
    if suffix in (".html", ".htm"):
        write_history_page(output, found, _picture(found, "svg"))
    else:
        write_bytes(output, _picture(found, suffix.removeprefix(".")))


def _picture(found: History, kind: str) -> bytes:
    """Return the drawing; equal runs make equal bytes."""
    import matplotlib as mpl

    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "quantlab"}):
        figure = trends(found)
        figure.savefig(file, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return file.getvalue()
