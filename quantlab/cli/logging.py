"""The option that asks for a log of JSON lines, and the log while a command runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from quantlab.cli.console import Output

if TYPE_CHECKING:
    from quantlab.jobs.logs import JsonLog

LogJson: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--log-json",
        metavar="FILE",
        envvar="QUANTLAB_LOG_JSON",
        help="Append a JSON object a line: steps, progress, figures, errors; begun anew after 10 MiB, three old ones kept.",
    ),
]


@contextmanager
def open_log(out: Output, path: Path | None, job: Path) -> Iterator[JsonLog | None]:
    """Give the log at a path, or None without one; with the error that ends the block; say at the end if the disk did not take all."""
    if path is None:
        yield None
        return
    import os

    from quantlab.jobs.logs import JsonLog, logging_refusal

    log = JsonLog(path, about={"file": str(job), "pid": os.getpid()})
    try:
        with logging_refusal(log):
            yield log
    finally:
        if log.lost:
            out.note(f"Note: {log.lost} lines could not be written to the log '{path}'.")
