"""The table of tensors in a browser: sorting, filtering, and a tensor's histogram."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from quantlab.report.build import build
from quantlab.report.page import render
from tests.report.large_report import METHODS, large_report
from tests.report.runs import parts

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.report.browser import Visits

COUNT = 30
COLUMNS = {
    "Scale": "scale",
    "Clipped": "clipped",
    "Expected": "expected_db",
    "Own": "own_db",
    "Accumulated": "accumulated_db",
}


@pytest.fixture(scope="module")
def data() -> Any:
    return large_report(COUNT)


@pytest.fixture
def page(visits: Visits, data: Any) -> Page:
    return visits.show(render(data))


def rows(page: Page) -> Locator:
    return page.locator("#tensor-table > tbody > tr[id]:not(.detail):visible")


def positions(page: Page) -> list[int]:
    """Return the rows' places in the network, in the order shown."""
    return [int(text) for text in rows(page).locator("> td:first-child").all_inner_texts()]


def head(page: Page, name: str) -> Locator:
    return page.locator("#tensor-table > thead").get_by_role("columnheader", name=name, exact=True)


def known_first(data: Any, field: str, *, down: bool) -> list[int]:
    """Return the rows' places by a field, those without it last; equal ones stay in the network's order."""
    known = [row for row in data.tensors if getattr(row, field) is not None]
    known.sort(key=lambda row: -getattr(row, field) if down else getattr(row, field))
    return [row.position for row in known] + [row.position for row in data.tensors if getattr(row, field) is None]


@pytest.mark.parametrize("name", list(COLUMNS))
def test_a_column_of_numbers_sorts_up_then_down_and_what_is_unknown_comes_last(
    page: Page, data: Any, name: str
) -> None:
    button = head(page, name).get_by_role("button")
    for down, state in ((False, "ascending"), (True, "descending")):
        button.click()
        assert positions(page) == known_first(data, COLUMNS[name], down=down)
        assert head(page, name).get_attribute("aria-sort") == state
    assert page.locator("#tensor-table th[aria-sort]:not([aria-sort=none])").count() == 1


def test_names_sort_as_people_count(page: Page) -> None:
    head(page, "Tensor").get_by_role("button").click()
    assert positions(page) == list(range(1, COUNT + 1))  # features.2 before features.10
    head(page, "Tensor").get_by_role("button").click()
    assert positions(page) == list(range(COUNT, 0, -1))


def test_the_graph_s_order_comes_back(page: Page) -> None:
    head(page, "Own").get_by_role("button").click()
    head(page, "#").get_by_role("button").click()
    assert positions(page) == list(range(1, COUNT + 1))


def test_words_of_the_filter_must_all_be_found(page: Page) -> None:
    box = page.get_by_role("searchbox", name="Filter")
    box.fill("FEATURES.1/ conv.2")
    assert positions(page) == [6]
    assert page.get_by_role("status").inner_text() == f"1 of {COUNT} tensors"
    box.fill("nothing is called so")
    assert positions(page) == []
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("status").get_by_text(f"{COUNT} of {COUNT} tensors").wait_for()
    assert positions(page) == list(range(1, COUNT + 1))


def test_a_limit_in_decibel_keeps_what_lies_below_it(page: Page, data: Any) -> None:
    page.get_by_role("spinbutton", name="SQNR below").fill("25")
    expected = [r.position for r in data.tensors if (r.expected_db if r.own_db is None else r.own_db) < 25]
    assert 0 < len(expected) < COUNT
    assert positions(page) == expected


def test_a_role_keeps_its_tensors_and_goes_with_the_words(page: Page, data: Any) -> None:
    page.get_by_role("combobox", name="Role").select_option("weight")
    weights = [row.position for row in data.tensors if row.role == "weight"]
    assert positions(page) == weights
    page.get_by_role("searchbox", name="Filter").fill("features.1/")
    assert positions(page) == [4]


def test_a_click_on_a_row_or_its_name_opens_the_histogram_with_every_threshold(page: Page) -> None:
    for place, target in enumerate((rows(page).nth(2).locator("> td").last, rows(page).nth(0).get_by_role("button"))):
        target.click()
        opened(page, count=place + 1)
    rows(page).nth(0).get_by_role("button").click()
    rows(page).nth(2).locator("> td").last.click()
    assert page.locator(".panel").count() == 0
    assert page.locator("#tensor-table button[aria-expanded=true]").count() == 0


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_a_key_opens_the_histogram_and_escape_closes_it(page: Page, key: str) -> None:
    button = rows(page).nth(1).get_by_role("button")
    button.focus()
    page.keyboard.press(key)
    opened(page, count=1)
    assert button.get_attribute("aria-expanded") == "true"
    assert page.locator("#" + str(button.get_attribute("aria-controls"))).is_visible()
    page.keyboard.press("Escape")
    assert page.locator(".panel").count() == 0
    assert button.get_attribute("aria-expanded") == "false"
    focused(button)


def focused(button: Locator) -> None:
    """Check that a button has the focus, which a busy browser gives it a moment after the click."""
    button.page.wait_for_function("e => e === document.activeElement", arg=button.element_handle())


def opened(page: Page, *, count: int) -> None:
    """Check that so many histograms are open, each with all methods drawn and in a table."""
    panels = page.locator(".panel:visible")
    assert panels.count() == count
    for panel in panels.all():
        drawn = panel.get_by_role("img")
        assert "thresholds of 8 methods" in str(drawn.get_attribute("aria-label"))
        assert drawn.locator("line.threshold").count() == len(METHODS)
        assert sorted(label.split(": ")[0] for label in drawn.locator("text.m").all_text_contents()) == sorted(METHODS)
        named = panel.get_by_role("rowheader").all_inner_texts()
        assert [text.removesuffix("chosen").strip() for text in named] == list(METHODS)
        box, around = panel.bounding_box(), page.locator("div:has(> #tensor-table)").bounding_box()
        assert box is not None
        assert around is not None
        assert box["x"] + box["width"] <= around["x"] + around["width"] + 1
        assert panel.evaluate("(e) => e.scrollWidth - e.clientWidth") <= 0


def test_an_open_histogram_goes_where_its_row_goes(page: Page) -> None:
    rows(page).nth(0).get_by_role("button").click()
    head(page, "#").get_by_role("button").click()  # it was ascending
    last = page.locator("#tensor-table > tbody > tr").last
    assert str(last.get_attribute("class")) == "detail"
    page.get_by_role("searchbox", name="Filter").fill("features.3/")
    assert page.locator(".panel:visible").count() == 0


def test_a_mark_of_the_chart_leads_to_its_row_even_where_a_filter_hides_it(page: Page) -> None:
    page.get_by_role("searchbox", name="Filter").fill("features.3/")
    page.locator(".chart [data-tensor='5']").first.click(force=True)
    focused(page.locator("#t5 button"))
    assert page.locator("#t5-detail").is_visible()
    assert positions(page) == list(range(1, COUNT + 1))


def test_tensors_without_histogram_or_threshold_say_so(visits: Visits, data: Any) -> None:
    bare = replace(data, tensors=(replace(data.tensors[0], sketch=None, thresholds=()),))
    page = visits.show(render(bare))
    rows(page).nth(0).get_by_role("button").click()
    assert "No histogram of this tensor was kept" in page.locator(".panel").inner_text()
    assert page.locator(".panel svg, .panel table").count() == 0


def test_a_report_without_tensors_needs_no_table(visits: Visits) -> None:
    page = visits.show(render(replace(build(parts()), tensors=())))
    assert page.locator("#tensor-table").count() == 0
    assert page.locator("html.ready").count() == 1
