"""The page on a history: its trends as one picture, and its runs as a table."""

import os

from quantlab.atomic import atomic_path
from quantlab.report.regression_document import document, embedded
from quantlab.storage.run_record import History
from quantlab.versions import versions


def write_history_page(path: str | os.PathLike[str], history: History, picture: bytes) -> None:
    """Write the page, whole or not at all; `picture` is the drawing of the trends, as SVG or PNG.

    Raises
    ------
    MachineError
        No space, no permission.
    """
    text = history_page(history, picture)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def history_page(history: History, picture: bytes) -> str:
    """Return the page."""
    names = list(dict.fromkeys(run.name for run in history.runs))
    return document(
        "regression_history.html.j2",
        runs=history.runs,
        names=names,
        picture=embedded(picture),
        quantlab=versions()["quantlab"],
    )
