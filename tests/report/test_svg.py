"""Drawings that are there before any script runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quantlab.report import svg
from quantlab.report.build import build
from quantlab.report.tensor_row import Sketch, TensorRow
from tests.report.html_tree import Element, parse
from tests.report.runs import names, parts


@pytest.fixture(scope="module")
def rows() -> tuple[TensorRow, ...]:
    return build(parts(names(5))).tensors


def marks(drawing: Element, kind: str) -> list[Element]:
    (series,) = drawing.all("g", class_=f"series {kind}")
    return [mark for mark in series.all("*") if "data-tensor" in mark.attributes]


def test_the_network_is_drawn_in_graph_order(rows: tuple[TensorRow, ...]) -> None:
    drawing = parse(svg.network(rows))
    places = [float(mark.attributes["cx"] or "") for mark in marks(drawing, "own")]
    heights = [float(mark.attributes["cy"] or "") for mark in marks(drawing, "own")]
    assert places == sorted(places)
    assert heights == sorted(heights)  # own SQNR falls from tensor to tensor, and y grows downwards
    assert [mark.one("title").text for mark in marks(drawing, "accumulated")][:1] == [
        f"1. {rows[0].name}: 20.0 dB accumulated"
    ]


def test_expected_sqnr_is_drawn_where_nothing_was_measured(rows: tuple[TensorRow, ...]) -> None:
    drawing = parse(svg.network([replace(row, own_db=None, accumulated_db=None) for row in rows]))
    assert len(marks(drawing, "expected")) == 5
    assert not drawing.all("g", class_="series accumulated")


@pytest.mark.parametrize("db", [float("inf"), float("nan"), None])
def test_a_tensor_without_a_finite_sqnr_is_left_out(rows: tuple[TensorRow, ...], db: float | None) -> None:
    drawing = parse(svg.network([replace(rows[0], own_db=db), *rows[1:]]))
    assert [mark.attributes["data-tensor"] for mark in marks(drawing, "own")] == ["2", "3", "4", "5"]


def test_no_signal_at_all_is_drawn_at_the_bottom(rows: tuple[TensorRow, ...]) -> None:
    drawing = parse(svg.network([replace(rows[0], own_db=float("-inf")), *rows[1:]]))
    assert marks(drawing, "own")[0].attributes["cy"] == "262"


def test_one_tensor_and_none_can_be_drawn(rows: tuple[TensorRow, ...]) -> None:
    assert len(marks(parse(svg.network(rows[:1])), "own")) == 1
    assert parse(svg.network([])).one("svg").attributes["role"] == "img"


def test_the_outline_has_a_step_a_bin() -> None:
    path = svg.outline(Sketch((9, 0, 99), 3.0, 0, 108), lambda x: x, lambda y: y)
    assert path == "M0 0V1H1V0H2V2H3V0Z"


def test_what_the_range_cuts_off_is_shaded(rows: tuple[TensorRow, ...]) -> None:
    row = rows[0]
    assert row.sketch is not None
    assert row.chosen is not None
    assert row.chosen.amax < row.sketch.stop
    assert parse(svg.small_histogram(row)).all("rect", class_="beyond")
    whole = replace(row, chosen=row.observed)
    assert not parse(svg.small_histogram(whole)).all("rect", class_="beyond")


def test_a_tensor_without_a_histogram_has_an_empty_drawing(rows: tuple[TensorRow, ...]) -> None:
    assert not parse(svg.small_histogram(replace(rows[0], sketch=None))).all("path")


def test_a_hostile_name_is_escaped(rows: tuple[TensorRow, ...]) -> None:
    hostile = replace(rows[0], name='"><script>alert(1)</script>\x00')
    for drawing in (svg.network([hostile]), svg.small_histogram(hostile)):
        assert not parse(drawing).all("script")
        assert "\x00" not in drawing
