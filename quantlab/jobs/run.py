"""Carries out a job: alone in its folder, step by step; a step that is current is skipped."""

from quantlab.jobs.histories import remember
from quantlab.jobs.job import EXPORTED, Job
from quantlab.jobs.output_lock import working_in
from quantlab.jobs.run_result import Listener, RunResult
from quantlab.jobs.run_steps import RunSteps
from quantlab.jobs.training import export_model


def run_job(job: Job, *, listener: Listener, force: bool = False) -> RunResult:
    """Carry out a job.

    Parameters
    ----------
    job
        What to do.
    listener
        Told about every step.
    force
        Make stale, edited and foreign files in the run folder anew, instead of refusing them; current ones stay.

    Raises
    ------
    BusyError
        When another job works in the run folder; it is named.
    QuantlabError
        What the steps raise; all that was finished by then stays and is not done again by the next run.
    """
    with working_in(job.output):
        if job.model == job.output / EXPORTED:
            export_model(job, force=force)
        result = RunSteps(job, listener, "changed" if force else "never").carried_out()
        if job.history is not None:
            remember(job.output, job.history)
    return result
