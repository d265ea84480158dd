"""What the report looks like: light and dark, on paper, on a phone, and for readers who ask for contrast or stillness."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from quantlab.report.page import render
from tests.report.browser import PAPER, PHONE, WIDE, contrasts, sideways
from tests.report.large_report import large_report

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.report.browser import Visits

STATES = ("pass", "warn", "fail", "none", "inconclusive")
LEAST_CONTRAST = 4.5


@pytest.fixture(scope="module")
def data() -> Any:
    return large_report(12)


@pytest.fixture(scope="module")
def text(data: Any) -> str:
    return render(data)


def open_everything(page: Page) -> None:
    """Open what is folded, and a tensor."""
    page.evaluate("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    page.locator("#t1 button").click()


@pytest.mark.parametrize(("scheme", "contrast"), list(product(("light", "dark"), ("no-preference", "more"))))
def test_every_text_can_be_read_on_its_ground(visits: Visits, text: str, scheme: str, contrast: str) -> None:
    page = visits.show(text, color_scheme=scheme, contrast=contrast)
    open_everything(page)
    page.mouse.move(0, 0)
    found = contrasts(page)
    assert len(found) > 100
    assert [(ratio, words) for ratio, words in found if ratio < LEAST_CONTRAST] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_verdict_can_be_read(visits: Visits, data: Any, scheme: str) -> None:
    page = visits.show(render(replace(data, tensors=data.tensors[:1])), color_scheme=scheme)
    for state in STATES:
        page.locator("#verdict").evaluate("(e, state) => { e.className = 'verdict ' + state; }", state)
        assert contrasts(page)[0][0] >= LEAST_CONTRAST, state


def test_dark_is_dark_and_light_is_light(visits: Visits, text: str) -> None:
    page = visits.show(text)
    grounds = {}
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        color = str(page.locator("body").evaluate("(e) => getComputedStyle(e).backgroundColor"))
        grounds[scheme] = sum(int(part) for part in re.findall(r"\d+", color)[:3]) / 3
    assert grounds["dark"] < 50
    assert grounds["light"] > 220


@pytest.mark.parametrize("size", [WIDE, PHONE, {"width": 768, "height": 1024}], ids=["wide", "phone", "tablet"])
def test_nothing_reaches_over_the_window_s_edge(visits: Visits, text: str, size: dict[str, int]) -> None:
    page = visits.show(text, viewport=size)
    open_everything(page)
    assert sideways(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]


def test_the_table_of_tensors_fits_a_window_of_1200_pixels(visits: Visits, text: str) -> None:
    page = visits.show(text, viewport=WIDE)
    around = page.locator("div:has(> #tensor-table)")
    assert around.evaluate("(e) => e.scrollWidth - e.clientWidth") == 0
    page.locator("#t1 > :last-child").scroll_into_view_if_needed()
    box = page.locator("#t1 > :last-child").bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= WIDE["width"]


def test_a_phone_reaches_the_last_column(visits: Visits, text: str) -> None:
    page = visits.show(text, viewport=PHONE, has_touch=True)
    page.locator("#t1 > :last-child").scroll_into_view_if_needed()
    box = page.locator("#t1 > :last-child").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE["width"]


def rows_of_tiles(page: Page, count: int) -> list[int]:
    """Return how many of so many tiles stand in each row."""
    tops = page.evaluate(
        """(count) => {
          const all = document.querySelector(".tiles"), one = all.querySelector(".tile");
          all.replaceChildren(...Array.from({ length: count }, () => one.cloneNode(true)));
          return Array.from(all.children).map((e) => e.getBoundingClientRect().top);
        }""",
        count,
    )
    return [tops.count(top) for top in sorted(set(tops))]


def test_tiles_fill_their_rows_and_none_stands_alone(visits: Visits, text: str) -> None:
    page = visits.show(text, viewport=WIDE)
    assert {count: rows_of_tiles(page, count) for count in range(1, 10)} == {
        1: [1], 2: [2], 3: [3], 4: [4], 5: [3, 2], 6: [3, 3], 7: [4, 3], 8: [4, 4], 9: [3, 3, 3],
    }  # fmt: skip
    page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    assert [rows_of_tiles(page, count) for count in (2, 5, 6)] == [[2], [2, 2, 1], [2, 2, 2]]


def test_a_table_s_head_stays_in_sight(visits: Visits, text: str) -> None:
    page = visits.show(text, viewport={"width": 1200, "height": 400})
    around, head = page.locator("div:has(> #tensor-table)"), page.locator("#tensor-table thead")
    around.evaluate("(e) => { e.scrollTop = e.scrollHeight; }")
    there, here = around.bounding_box(), head.bounding_box()
    assert there is not None
    assert here is not None
    assert around.evaluate("(e) => e.scrollTop") > 0
    assert here["y"] == pytest.approx(there["y"], abs=2)


def test_paper_shows_everything_but_the_controls(visits: Visits, text: str) -> None:
    page = visits.show(text, viewport=PAPER)
    open_everything(page)
    page.emulate_media(media="print", color_scheme="dark")
    for gone in ("nav", ".skip", "#filter input", "#filter button"):
        assert page.locator(gone).first.is_hidden()
    assert all(section.is_visible() for section in page.locator("section, section tbody tr:not(.detail)").all())
    assert page.get_by_role("status").is_visible()  # how many rows a filter left
    cut = "(all) => all.filter((e) => e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1).length"
    assert page.locator(".scroll").evaluate_all(cut) == 0
    assert sideways(page) == []
    assert page.locator("body").evaluate("(e) => getComputedStyle(e).backgroundColor") == "rgb(255, 255, 255)"
    assert contrasts(page)[0][0] >= LEAST_CONTRAST


def test_printing_opens_what_is_folded_and_folds_it_again(visits: Visits, text: str) -> None:
    page = visits.show(text)
    page.evaluate("document.querySelectorAll('details').forEach((e) => { e.open = false; })")
    page.evaluate(
        "addEventListener('beforeprint', () => { window.folded = document.querySelectorAll('details:not([open])').length; })"
    )
    paper = page.pdf(prefer_css_page_size=True)
    assert paper.startswith(b"%PDF")
    sizes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", paper)
    assert len(sizes) > 1
    assert all(float(width) > float(height) for width, height in sizes)
    assert page.evaluate("window.folded") == 0
    assert page.locator("details[open]").count() == 0
    assert page.locator("details").count() > 0


@pytest.mark.parametrize(("motion", "behaviour"), [("reduce", "auto"), ("no-preference", "smooth")])
def test_a_reader_who_asks_for_no_motion_gets_none(visits: Visits, text: str, motion: str, behaviour: str) -> None:
    page = visits.show(text, reduced_motion=motion)
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == behaviour
    moving = "(all) => all.filter((e) => getComputedStyle(e).animationName !== 'none' || parseFloat(getComputedStyle(e).transitionDuration) > 0).length"
    assert page.locator("*").evaluate_all(moving) == 0
