"""The page on a regression: one HTML file that says whether the candidate may ship, and what it rests on."""

import os

from quantlab.regression.regression import Regression
from quantlab.regression.run import Run
from quantlab.report import regression_data
from quantlab.report.document import document
from quantlab.report.regression_data import RegressionData
from quantlab.storage.text import write_text
from quantlab.versions import versions


def write_regression_page(path: str | os.PathLike[str], found: Regression, baseline: Run, candidate: Run) -> None:
    """Write the page, whole or not at all; equal runs make equal bytes.

    Raises
    ------
    MachineError
        No space, no permission.
    """
    write_text(path, regression_page(found, baseline, candidate))


def regression_page(found: Regression, baseline: Run, candidate: Run) -> str:
    """Return the page; `baseline` and `candidate` are the runs that were compared."""
    return document(
        "regression.html.j2",
        data=RegressionData.of(found, baseline, candidate),
        words=regression_data.WORDS,
        value_of=regression_data.value_of,
        interval_of=regression_data.interval_of,
        with_unit=regression_data.with_unit,
        chance=regression_data.chance,
        quantlab=versions()["quantlab"],
    )
