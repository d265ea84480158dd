"""The report by keyboard, by screen reader, without scripts, and full of strangers' names."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from quantlab.report.build import build
from quantlab.report.flips import Flipped, FlippedRow
from quantlab.report.page import render
from quantlab.report.precision import LayerPrecision, Precision
from tests.report.browser import WIDE
from tests.report.large_report import large_report
from tests.report.runs import EVALUATION, comparison, parts

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.report.browser import Visits

HOSTILE = "<img src=x onerror=alert(1)>"
LARGEST_PAGE = 3_000_000
MOST_ELEMENTS = 25_000
"""For 300 tensors; a browser lays this out in a few hundred milliseconds (reports/figures/report.json)."""

_FOCUSED = """() => {
  const e = document.activeElement, box = e.getBoundingClientRect(), style = getComputedStyle(e);
  const names = [e.getAttribute("aria-label"), e.labels && e.labels[0] && e.labels[0].textContent, e.textContent];
  return { tag: e.tagName, name: (names.find(Boolean) || "").trim(), id: e.id, ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    seen: box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth };
}"""


@pytest.fixture(scope="module")
def data() -> Any:
    return large_report(6)


@pytest.fixture(scope="module")
def text(data: Any) -> str:
    return render(data)


def walk(page: Page, most: int = 400) -> list[dict[str, Any]]:
    """Return what the Tab key stops at, from the top until it leaves the page."""
    stops: list[dict[str, Any]] = []
    for _ in range(most):
        page.keyboard.press("Tab")
        found = page.evaluate(_FOCUSED)
        if found["tag"] == "BODY":
            break
        stops.append(found)
    return stops


def test_the_tab_key_goes_through_the_page_in_its_order_and_is_always_seen(visits: Visits, text: str) -> None:
    page = visits.show(text, reduced_motion="reduce")
    stops = walk(page)
    names = [stop["name"] for stop in stops]
    assert names[:2] == ["Skip to the report", "Verdict"]
    assert all(stop["ring"] and stop["seen"] and stop["name"] for stop in stops)
    order = [names.index(name) for name in ("Filter", "Clear", "Table: tensors", "Tensor", "Own")]
    assert order == sorted(order)
    tensors = [row.text_content() for row in page.locator("#tensor-table tbody th button").all()]
    assert [stop["name"] for stop in stops if stop["tag"] == "BUTTON" and stop["name"] in tensors] == tensors


def test_the_first_stop_skips_the_navigation(visits: Visits, text: str) -> None:
    page = visits.show(text)
    page.keyboard.press("Tab")
    assert page.locator(".skip").bounding_box() is not None
    assert page.evaluate(_FOCUSED)["seen"]
    page.keyboard.press("Enter")
    page.locator("#main:focus").wait_for()


def test_the_keyboard_sorts_and_scrolls_a_table(visits: Visits, text: str) -> None:
    page = visits.show(text, viewport={"width": 700, "height": 500}, reduced_motion="reduce")
    header = page.locator("#tensor-table thead").get_by_role("columnheader", name="Own", exact=True)
    header.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Space")
    assert header.get_attribute("aria-sort") == "descending"
    around = page.get_by_role("region", name="Table: tensors")
    around.focus()
    around.evaluate("(e) => { e.scrollLeft = 0; }")
    with page.expect_event("console", lambda said: said.text == "scrolled"):
        around.evaluate("(e) => e.addEventListener('scroll', () => console.log('scrolled'), { once: true })")
        page.keyboard.press("ArrowRight")
    assert around.evaluate("(e) => e.scrollLeft") > 0


def test_a_screen_reader_finds_landmarks_headings_and_tables(visits: Visits, text: str) -> None:
    page = visits.show(text)
    for role in ("banner", "navigation", "main", "contentinfo", "search"):
        assert page.get_by_role(role).count() == 1
    sections = [e.get_attribute("aria-labelledby") for e in page.locator("main > section").all()]
    assert all(page.get_by_role("region", name=_name(page, str(label))).count() for label in sections)
    levels = [int(str(e.evaluate("(e) => e.tagName"))[1]) for e in page.get_by_role("heading").all()]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for table in page.locator("main table").all():
        assert table.locator("th:not([scope])").count() == 0
        assert table.locator("thead th[scope=col]").count() > 0
        named = table.locator("caption").count() or table.locator("xpath=ancestor::*[@aria-label][1]").count()
        assert named


def _name(page: Page, label: str) -> str:
    return page.locator(f"#{label}").inner_text().strip()


def test_every_picture_and_control_has_a_name(visits: Visits, text: str) -> None:
    page = visits.show(text)
    page.locator("#t1 button").click()
    for role in ("img", "button", "link", "searchbox", "spinbutton", "combobox"):
        everything, named = page.get_by_role(role), page.get_by_role(role, name=re.compile(r"\w|#"))
        assert everything.count() == named.count() > 0
    assert page.locator("img:not([alt])").count() == 0
    pictures = "(all) => all.filter((e) => !e.closest('[aria-hidden=true]') && !(e.getAttribute('role') === 'img' && e.getAttribute('aria-label'))).length"
    assert page.locator("svg").evaluate_all(pictures) == 0


def test_what_the_chart_shows_the_table_says_too(visits: Visits, text: str) -> None:
    page = visits.show(text)
    for mark in page.locator("#network .own [data-tensor]").all():
        row = page.locator(f"#t{mark.get_attribute('data-tensor')}")
        name, value = str(row.locator("th").text_content()), str(row.locator("td").nth(8).text_content())
        assert name in str(mark.text_content())
        assert value in str(mark.text_content())


def test_the_filter_s_count_is_announced(visits: Visits, text: str) -> None:
    page = visits.show(text)
    status = page.get_by_role("status")
    assert status.get_attribute("aria-live") == "polite"
    page.get_by_role("searchbox").fill("conv.1")
    assert status.inner_text() == "2 of 6 tensors"
    assert page.get_by_role("table", name="Quantized tensors").get_by_role("rowheader").count() == 2


def test_without_scripts_everything_can_be_read(visits: Visits, text: str, data: Any) -> None:
    with_script, without = visits.show(text), visits.show(text, java_script_enabled=False)
    assert without.locator("form:visible, button:visible, .live:visible").count() == 0
    assert without.get_by_text("Without scripts the table can be read").is_visible()
    said = without.locator("#tensor-table").inner_text()
    assert all(row.name in said for row in data.tensors)
    for page in (with_script, without):
        assert page.locator(".chart").first.is_visible()
    kept = "(all) => all.map((e) => e.textContent.replace(/\\s+/g, ' ').trim())"
    cells = "main h2, main td, main th, main dd, main li"
    assert without.locator(cells).evaluate_all(kept) == with_script.locator(cells).evaluate_all(kept)
    without.locator("summary").first.click()


def test_a_stranger_s_names_are_shown_as_text(visits: Visits) -> None:
    """`visits` fails where a dialog opens, a picture is asked for, or the policy is broken."""
    names = [HOSTILE, f"two {HOSTILE}", f"three {HOSTILE}"]
    final = comparison(replace(EVALUATION, name=HOSTILE), tensors=())
    tables = dict(zip([HOSTILE, "b", "c"], parts(names).tables.values(), strict=True))
    run = parts(names, title=HOSTILE, tables=tables, chosen=HOSTILE, final=final, floats={HOSTILE: HOSTILE})
    picture = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
    flipped = Flipped((FlippedRow(0, HOSTILE, 0, 0, 1, 0.5, picture),), 1, names=(HOSTILE, "b"))
    layer = LayerPrecision(HOSTILE, HOSTILE, "float", 1, HOSTILE)
    page = visits.show(render(replace(build(run), flipped=flipped, precision=Precision("model", (layer,)))))
    page.evaluate("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    page.locator("#t1 button").click()
    assert page.title() == HOSTILE
    assert page.locator("img[src='x']").count() == 0
    for place in (
        "h1",
        "#tensor-table",
        ".panel",
        "#methods",
        "#worst",
        "#precision",
        "#flips",
        ".thumb",
        "#provenance",
    ):
        assert HOSTILE in page.locator(place).inner_text()
    assert page.locator("#precision, #flips").get_by_text(HOSTILE, exact=True).count() >= 6
    assert page.get_by_role("img", name=HOSTILE).count() > 0
    assert HOSTILE in str(page.locator(".panel svg").get_attribute("aria-label"))
    for place in (".panel text", "#network .chart title", "#ladder .chart title"):
        assert any(HOSTILE in found for found in page.locator(place).all_text_contents())


def test_a_page_that_asks_for_a_file_or_opens_a_dialog_is_noticed(visits: Visits) -> None:
    visits.show("<img src=x onerror=alert(1)>").wait_for_timeout(100)
    assert "opens a dialog" in visits.complaints
    assert any(complaint.startswith("asks for ") for complaint in visits.complaints)
    visits.complaints.clear()


def test_three_hundred_tensors_are_few_enough_elements(visits: Visits) -> None:
    large = render(large_report())
    assert len(large.encode()) < LARGEST_PAGE
    page = visits.show(large, viewport=WIDE)
    assert page.locator("#tensor-table > tbody > tr").count() == 300
    assert page.evaluate("document.querySelectorAll('*').length") < MOST_ELEMENTS
