"""`quantlab run --dry-run`: what a job would take, as a table of estimates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quantlab.cli.console import Output

if TYPE_CHECKING:
    from quantlab.jobs.estimates import Estimate
    from quantlab.jobs.job import Job
    from quantlab.jobs.job_fields import JobFields


def show_dry_run(out: Output, found: JobFields) -> None:
    """Print what a job, or every cell of its matrix, is estimated to take; nothing of it is kept."""
    from quantlab.jobs.job_fields import MATRIX
    from quantlab.jobs.job_file import job_of
    from quantlab.jobs.matrix_section import cells_of

    cells = cells_of(found) if found.values.get(MATRIX) is not None else ()
    jobs = {cell.name: (cell.fields, job_of(cell.fields)) for cell in cells} or {"": (found, job_of(found))}
    told = {name: _estimate(out, name or job.name, fields, job) for name, (fields, job) in jobs.items()}
    for name, estimate in told.items():
        _show(out, name, estimate)
    if len(told) > 1:
        out.say(f"\n{len(told)} runs: some {_time(sum(e.seconds for e in told.values()))}, less what they share.")
    plain = {name: _plain(estimate) for name, estimate in told.items()}
    out.result({"estimates": True, **({"cells": plain} if cells else plain[""])})


def _estimate(out: Output, name: str, fields: JobFields, job: Job) -> Estimate:
    from quantlab.jobs.estimates import Estimate, StepEstimate, estimate
    from quantlab.jobs.explaining import explain

    steps = explain(fields, job).steps
    current = [step.title for step in steps if step.state == "current" and not step.why]
    if len(current) == len(steps):
        return Estimate(tuple(StepEstimate(title, 0.0, None, 0, current=True) for title in current))
    return estimate(job, current, tell=lambda samples: out.note(f"{name}: trying {samples} samples of each set …"))


def _show(out: Output, name: str, found: Estimate) -> None:
    from quantlab.jobs.sizes import shown_bytes

    if name:
        out.say(f"\n{name}")
    rows = [
        (s.title, s.samples, "current" if s.current else _time(s.seconds), _bytes(s.memory), shown_bytes(s.disk))
        for s in found.steps
    ]
    out.table(("step", "samples", "time, about", "memory, about", "disk, about"), rows)
    if all(step.current for step in found.steps):
        out.say("Every step is current: nothing would be done.")
        return
    out.say(
        f"Estimates from a few samples, on this machine as busy as it is now: some {_time(found.seconds)}, "
        f"{_bytes(found.memory)} of memory, {shown_bytes(found.disk)} on disk. Nothing was written."
    )


def _bytes(count: int | None) -> str | None:
    from quantlab.jobs.sizes import shown_bytes

    return None if count is None else shown_bytes(count)


def _time(seconds: float) -> str:
    """Return «4.2 s», «3 min 20 s» or «2 h 5 min»."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _plain(found: Estimate) -> dict[str, Any]:
    steps = [
        {
            "step": s.title,
            "samples": s.samples,
            "seconds": s.seconds,
            "memory": s.memory,
            "disk": s.disk,
            "current": s.current,
        }
        for s in found.steps
    ]
    return {"steps": steps, "seconds": found.seconds, "memory": found.memory, "disk": found.disk}
