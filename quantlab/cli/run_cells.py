"""`quantlab run` of a job with a matrix: a run a cell, and the table of all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from quantlab.cli.console import Output, print_error

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from quantlab.jobs.job_fields import JobFields
    from quantlab.jobs.logs import JsonLog
    from quantlab.jobs.matrix_section import Cell
    from quantlab.jobs.run_result import Listener, MatrixResult


def run_cells(
    out: Output,
    found: JobFields,
    steps: Callable[..., AbstractContextManager[Listener]],
    log: JsonLog | None,
    *,
    force: bool,
) -> int:
    """Carry out every cell of a matrix, show what they came to, and return the exit code."""
    from quantlab.jobs.logs import Logged, logging_run
    from quantlab.jobs.matrix import read_matrix, run_matrix

    matrix = read_matrix(found)
    with ExitStack() as opened:
        note = opened.enter_context(logging_run(log, job=found.path.stem))

        def listener(cell: Cell) -> Listener:
            printed = opened.enter_context(steps(quiet=out.quiet, before=f"{cell.name} "))
            return printed if log is None else Logged(printed, log, job=found.path.stem, cell=cell.name)

        result = run_matrix(matrix, listener=listener, force=force)
        for cell in result.cells:
            if cell.result is not None:
                note(cell.result)
    _show(out, result, log)
    return result.exit_code


def _show(out: Output, found: MatrixResult, log: JsonLog | None) -> None:
    from quantlab.jobs.matrix_table import JSON_NAME, PAGE_NAME, columns_of, rows_of

    rows = rows_of(found)
    notes = dict.fromkeys(note for cell in found.cells if cell.result is not None for note in cell.result.notes)
    out.remarks(notes)
    out.table(*columns_of(rows))
    for cell in found.cells:
        if cell.error is not None:
            text = f"{cell.cell.name}: {str(cell.error) or type(cell.error).__name__}"
            print_error(text)
            if log is not None:
                log.write("cell failed", "error", cell=cell.cell.name, error=text, exit_code=cell.exit_code)
    out.say(f"Table: {found.output / PAGE_NAME}")
    table = found.output / JSON_NAME
    out.result({"output": found.output, "table": table, "exit_code": found.exit_code, "cells": rows})
