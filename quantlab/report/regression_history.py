"""The page on a history: its trends as one picture, and its runs as a table."""

import os

from quantlab.report.document import document, embedded
from quantlab.storage.run_record import History
from quantlab.storage.text import write_text
from quantlab.versions import versions


def write_history_page(path: str | os.PathLike[str], history: History, picture: bytes) -> None:
    """Write the page, whole or not at all; `picture` is the drawing of the trends, as SVG or PNG.

    Raises
    ------
    MachineError
        No space, no permission.
    """
    write_text(path, history_page(history, picture))


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
