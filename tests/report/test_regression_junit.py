"""A regression as JUnit XML, held against the rules of the schema that CI servers read it by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.regression.check import Check, verdict_of
from quantlab.regression.regression import Regression
from quantlab.report.formats import visible
from quantlab.report.regression_junit import regression_junit, write_regression_junit
from tests.report.regressions import FAIL, NASTY, OPEN, PASS, WARN, nasty, regression

# Element → attributes that are due, attributes that may be, and elements inside, as Jenkins's junit-10.xsd has them.
_RULES: dict[str, tuple[set[str], set[str], tuple[str, ...]]] = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "disabled", "errors"}, ("testsuite",)),
    "testsuite": (
        {"name"},
        {"tests", "failures", "errors", "time", "disabled", "skipped", "timestamp", "hostname", "id", "package"},
        ("properties", "testcase", "system-out", "system-err"),
    ),
    "properties": (set(), set(), ("property",)),
    "property": ({"name", "value"}, set(), ()),
    "testcase": (
        {"name"},
        {"assertions", "time", "classname", "status", "class", "file", "line"},
        ("skipped", "error", "failure", "system-out", "system-err"),
    ),
    "failure": (set(), {"type", "message"}, ()),
    "system-out": (set(), set(), ()),
}


def valid(found: Regression) -> ET.Element:
    """Return the root, having held every element against the rules."""
    root = ET.fromstring(regression_junit(found))
    assert root.tag == "testsuites"
    for element in root.iter():
        due, may, inside = _RULES[element.tag]
        assert due <= set(element.attrib) <= due | may, element.tag
        order = [inside.index(child.tag) for child in element]
        assert order == sorted(order), element.tag
    for suite in [root, *root.iter("testsuite")]:
        assert int(suite.attrib["tests"]) == len(list(suite.iter("testcase")))
        assert int(suite.attrib["failures"]) == len(
            [case for case in suite.iter("testcase") if case.find("failure") is not None]
        )
    return root


def red(*checks: Check) -> list[str]:
    return [failure.attrib["type"] for failure in valid(regression(*checks)).iter("failure")]


def test_a_case_a_check_red_for_what_must_not_ship_and_for_what_cannot_be_told() -> None:
    assert red(PASS, WARN, FAIL, OPEN) == ["fail", "inconclusive"]
    assert red(PASS, WARN, replace(OPEN, level="warn")) == []


@given(st.lists(st.sampled_from([PASS, WARN, FAIL, OPEN, replace(OPEN, level="warn")]), min_size=1, max_size=5))
def test_a_suite_is_red_exactly_where_the_exit_code_is_not_0(checks: list[Check]) -> None:
    assert bool(red(*checks)) == (verdict_of(tuple(checks)) in ("fail", "inconclusive"))


def test_a_failure_says_what_was_measured_and_a_warning_says_so_too() -> None:
    root = valid(regression(FAIL, WARN, PASS))
    (failure,) = root.iter("failure")
    assert failure.attrib["message"] == "top-1 fell by 2.00 points."
    assert failure.text == "measured 2.00 points, interval 1.00 … 3.00 points, limit 0.00 points"
    assert [case.findtext("system-out", "").partition(":")[0] for case in root.iter("testcase")][:2] == ["fail", "warn"]


def test_verdict_runs_and_samples_are_properties() -> None:
    values = {p.attrib["name"]: p.attrib["value"] for p in valid(regression(OPEN)).iter("property")}
    assert values == {
        "verdict": "inconclusive",
        "baseline": "main",
        "candidate": "branch",
        "samples": "5000",
        "changed": "the calibration data (a → b)",
        "needed-samples": "9000",
    }


@pytest.mark.parametrize("name", NASTY)
def test_a_strangers_name_is_text(name: str) -> None:
    root = valid(nasty(name))
    assert [case.attrib["name"] for case in root.iter("testcase")] == [visible(name)] * 2


@given(st.text())
def test_any_name_makes_xml_that_is_read_back(name: str) -> None:
    case = valid(regression(replace(PASS, name=name))).find("testsuite/testcase")
    assert case is not None
    assert case.attrib["name"] == visible(name)


def test_the_file_is_written(tmp_path: Path) -> None:
    write_regression_junit(tmp_path / "junit.xml", regression(PASS))
    assert ET.parse(tmp_path / "junit.xml").getroot().attrib["tests"] == "1"
