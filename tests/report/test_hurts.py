"""What hurts most, in sentences that follow from the numbers."""

from __future__ import annotations

import pytest

from quantlab.comparison.tensors import TensorError
from quantlab.report.build import build
from quantlab.report.page import render
from quantlab.report.run_parts import RunParts
from tests.report.html_tree import parse
from tests.report.runs import comparison, parts, sums
from tests.report.test_ladder import parsed, search, trial


def said(run: RunParts) -> dict[str, tuple[str, str]]:
    return {hurt.kind: (hurt.subject, hurt.text) for hurt in build(run).hurts}


def test_the_tensor_that_its_own_int8_distorts_most_is_named_beside_the_median() -> None:
    subject, text = said(parts())["tensor"]
    assert subject == "c"
    assert text.startswith("is distorted most by its own INT8: 38.0 dB (the median tensor has 39.0)")


def test_expected_errors_stand_in_and_are_called_that() -> None:
    assert "dB expected" in said(parts(final=comparison()))["tensor"][1]


def test_the_first_tensor_as_noisy_as_the_output_is_named_if_it_is_an_early_one() -> None:
    levels = (42.0, 40.0, 27.0, 26.0, 25.0, 24.0)
    errors = tuple(TensorError(name, sums(db), sums(40.0)) for name, db in zip("abcdef", levels, strict=True))
    run = parts("abcdef", final=comparison(tensors=errors))
    assert said(run)["depth"] == (
        "c", "already brings the network's SQNR down to 27.0 dB, as tensor 3 of 6; the output's is 24.2 dB"
    )  # fmt: skip
    late = tuple(TensorError(name, sums(60.0 - i), sums(40.0)) for i, name in enumerate("abcdef"))
    assert "depth" not in said(parts("abcdef", final=comparison(tensors=late)))


def test_the_operator_that_costs_most_comes_from_the_search() -> None:
    rows = [
        {"name": name, "nodes": [name], "share": 0.02, "alone_db": 20.0, "gain_db": gain}
        for name, gain in (("conv1", 0.4), ("conv2", 1.25), ("conv3", -0.1))
    ]
    found = said(parts(search=parsed(search(trial("thresholds", 0.1), sensitivity={"rows": rows, "samples": 64}))))
    assert found["operator"] == (
        "conv2", "costs most: in float the output's SQNR rises by 1.2 dB for 2.00 % of the work"
    )  # fmt: skip


def test_one_answer_lost_is_a_sample_and_no_class() -> None:
    subject, text = said(parts())["sample"]
    assert subject == "shoe.png"
    assert text == "is the one right answer lost: INT8 says 2, not 1 (1 right answer lost and 1 gained in all)"


def test_nothing_measured_hurts_nothing() -> None:
    assert build(RunParts()).hurts == ()


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>", "a\u202eb"])
def test_the_first_screen_names_it_escaped_and_leads_to_its_row(name: str) -> None:
    page = parse(render(build(parts((name, "b")))))
    verdict = page.one("section", id="verdict")
    assert not page.all("img")
    (link,) = [link for link in verdict.all("a") if link.attributes["href"] == "#t2"] or verdict.all("a")
    assert page.all("tr", id=str(link.attributes["href"])[1:])
