"""The page of values in hand, as a session has them: without a run folder."""

from os import PathLike

from quantlab.report import page
from quantlab.report.build import build
from quantlab.report.run_parts import RunParts


def write_report(path: str | PathLike[str], parts: RunParts) -> None:
    """Write the HTML page of what a session made; whatever is missing is left off the page.

    Parameters
    ----------
    parts
        Tables, histograms, comparisons and what else there is; see `RunParts`.

    Raises
    ------
    InputError
        When the parts are of several models.
    MachineError
        No space, no permission.
    """
    page.write_report(path, build(parts))
