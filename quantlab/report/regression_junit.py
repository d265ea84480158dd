"""A regression as JUnit XML: a test case a check, as every CI server shows it.

An inconclusive check is a failure of type «inconclusive»: JUnit has no word for it, a skipped test counts as green
everywhere, and a gate that cannot tell must not let anything pass. A warning passes, and says so in its output.
"""

import os
from xml.etree import ElementTree as ET

from quantlab.regression.check import Check
from quantlab.regression.regression import Regression
from quantlab.report.formats import visible
from quantlab.report.regression_data import interval_of, value_of, with_unit
from quantlab.storage.text import write_bytes

_SUITE = "quantlab regress"


def write_regression_junit(path: str | os.PathLike[str], found: Regression) -> None:
    """Write the test suite, whole or not at all.

    Raises
    ------
    MachineError
        No space, no permission.
    """
    write_bytes(path, regression_junit(found))


def regression_junit(found: Regression) -> bytes:
    """Return the test suite as UTF-8; characters that XML cannot hold are spelled out."""
    red = sum(_is_red(check) for check in found.checks)
    counts = {"tests": str(len(found.checks)), "failures": str(red), "errors": "0"}
    root = ET.Element("testsuites", {"name": _SUITE, **counts})
    suite = ET.SubElement(root, "testsuite", {"name": _SUITE, **counts, "skipped": "0", "time": "0"})
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(found).items():
        ET.SubElement(properties, "property", {"name": name, "value": visible(value)})
    for check in found.checks:
        _case(suite, check)
    ET.SubElement(suite, "system-out").text = visible("\n".join(found.words))
    ET.indent(root, " ")
    return ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _is_red(check: Check) -> bool:
    """Tell whether a check counts against the candidate: one of level warn never does."""
    return check.state == "fail" or (check.state == "inconclusive" and check.level == "fail")


def _case(suite: ET.Element, check: Check) -> None:
    case = ET.SubElement(suite, "testcase", {"classname": "quantlab.regress", "name": visible(check.name), "time": "0"})
    text = visible(check.sentence)
    if _is_red(check):
        failure = ET.SubElement(case, "failure", {"type": check.state, "message": text})
        failure.text = (
            f"measured {value_of(check)}, interval {interval_of(check)}, limit {with_unit(check.limit, check.unit)}"
        )
    ET.SubElement(case, "system-out").text = text if check.state == "pass" else f"{check.state}: {text}"


def _properties(found: Regression) -> dict[str, str]:
    needed = found.needed_samples
    return {
        "verdict": found.verdict,
        "baseline": found.baseline.name,
        "candidate": found.candidate.name,
        "samples": str(found.samples),
        "changed": "; ".join(found.differences),
        **({} if needed is None else {"needed-samples": str(needed)}),
    }
