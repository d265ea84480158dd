"""What is odd about calibration data, told by histograms alone and by `quantlab diagnose`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.calibration.histogram_set import HistogramSet
from quantlab.diagnosis.diagnosis import Diagnosis
from quantlab.diagnosis.drift import Drift, TensorDrift
from quantlab.diagnosis.extremes import Extreme
from quantlab.diagnosis.preprocessing import Preprocessing
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray
from quantlab.numerics.histogram import Histogram
from quantlab.report.build import build
from quantlab.report.diagnostics import Diagnostics, diagnostics
from quantlab.report.page import render
from quantlab.report.run_folder import read_run
from tests.report.html_tree import parse
from tests.report.runs import CALIBRATION, PROVENANCE, comparison, histogram_set, parts
from tests.report.test_run_folder import write_comparison

NORMAL = np.random.default_rng(0).normal(size=200_000).astype("f")


def of(**tensors: AnyArray) -> HistogramSet:
    return HistogramSet({name: Histogram.of(values) for name, values in tensors.items()}, PROVENANCE, {}, {})


def kinds(found: Diagnostics | None) -> dict[str, list[tuple[str, str]]]:
    assert found is not None
    return {odd.kind: list(odd.tensors) for odd in found.oddities}


def test_each_oddity_is_found_and_nothing_else() -> None:
    outlier = NORMAL.copy()
    outlier[0] = 500
    sparse = np.zeros(1000, "f")
    sparse[:5] = 1, 2, 3, 4, 5
    found = diagnostics(
        of(
            fine=NORMAL,
            same=np.full(9, 2.5, "f"),
            empty=np.zeros(9, "f"),
            broken=np.array([1, np.nan, np.nan, np.inf], "f"),
            spike=outlier,
            sparse=sparse,
        ),
        None,
        {"w": 2},
    )
    assert kinds(found) == {
        "nonfinite": [("broken", "2 × NaN, 1 × +∞")],
        "constant": [("same", "always 2.5"), ("empty", "always 0"), ("broken", "always 1")],
        "dead": [("w", "2 channels")],
        "few": [("spike", "1 of 200,000 values above half of 500")],
        "zeros": [("sparse", "99.50 % zeros")],
    }


def test_ranges_matter_of_quantized_tensors_alone() -> None:
    outlier = NORMAL.copy()
    outlier[0] = 500
    counted = of(inner=outlier, broken=np.array([1, 2, np.nan], "f"))
    assert set(kinds(diagnostics(counted, None, {}))) == {"nonfinite", "few"}
    assert set(kinds(diagnostics(counted, None, {}, {"other"}))) == {"nonfinite"}


@given(st.lists(st.floats(width=32), max_size=30))
def test_any_histogram_can_be_looked_at(values: list[float]) -> None:
    assert diagnostics(of(x=np.array(values, "f")), None, {}) is not None


def test_nothing_looked_at_makes_no_section() -> None:
    assert diagnostics(None, None, {}) is None


def diagnosis() -> Diagnosis:
    extremes = tuple(
        Extreme(name, "cat.png", 4, 10.0, "dog.png", second, {}) for name, second in (("a", 6.0), ("b", 9.0))
    )
    drift = Drift("calibration", "evaluation", (10, 10), (TensorDrift("a", 1.0, 0.01, 0.1, 0.1, 20.0, 30.0),))
    return Diagnosis("net.onnx", "onnxruntime", CALIBRATION, Preprocessing("x", 10), extremes, (), drift)


def test_a_diagnosis_gives_its_sentences_setters_and_drifts() -> None:
    found = diagnostics(histogram_set("ab"), diagnosis(), {})
    assert found is not None
    assert found.findings == diagnosis().findings
    ((sample, tensors, falls),) = found.setters
    assert (sample, tensors, round(falls, 6)) == ("cat.png", 2, 0.4)
    ((tensor, noise, lost),) = found.drifts
    assert (tensor, round(noise, 6), round(lost, 6)) == ("a", 100.0, 10.0)
    page = parse(render(build(parts(diagnosis=diagnosis()))))
    tables = page.one("section", id="diagnostics").all("table")
    assert [table.rows() for table in tables] == [[["cat.png", "2", "40 %"]], [["a", "100×", "10.0"]]]


def test_the_diagnosis_in_the_folder_is_read(tmp_path: Path) -> None:
    write_comparison(tmp_path / "compare.json", comparison())
    (tmp_path / "diagnosis.json").write_text(json.dumps(diagnosis().to_json()), encoding="utf-8")
    found = read_run(tmp_path).diagnostics
    assert found is not None
    assert (bool(found.findings), found.data) == (True, "calibration")
    (tmp_path / "diagnosis.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"diagnosis\.json"):
        read_run(tmp_path)


def test_the_page_says_what_to_run_where_nobody_diagnosed() -> None:
    section = parse(render(build(parts()))).one("section", id="diagnostics")
    assert "quantlab diagnose" in section.text
    hostile = replace(diagnosis(), extremes=tuple(replace(e, sample="<b>\u202e") for e in diagnosis().extremes))
    section = parse(render(build(parts(diagnosis=hostile)))).one("section", id="diagnostics")
    assert section.all("table")[0].rows()[0][0] == "<b>\\u202e"
    assert not section.all("b")
