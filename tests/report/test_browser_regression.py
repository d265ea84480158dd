"""The page on a regression in a browser: it can be read in both schemes, fits a phone, and shows names as text."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from quantlab.report.regression_page import regression_page
from tests.report.browser import PAPER, PHONE, WIDE, contrasts, sideways
from tests.report.regressions import DRIFT, FAIL, OPEN, PASS, SLICE, WARN, flip, nasty, regression, run
from tests.report.test_browser_look import LEAST_CONTRAST

if TYPE_CHECKING:
    from tests.report.browser import Visits

HOSTILE = "<img src=x onerror=alert(1)>"
FOUND = regression(
    FAIL, WARN, PASS, OPEN, slices=(SLICE,) * 3, drifts=(DRIFT,) * 4, flips=(flip(4), flip(3, "bag.png"))
)
TEXT = regression_page(FOUND, run(), run("branch"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", ["pass", "warn", "fail", "inconclusive"])
def test_every_text_can_be_read_on_its_ground(visits: Visits, scheme: str, state: str) -> None:
    page = visits.show(TEXT, color_scheme=scheme)
    page.locator("#verdict").evaluate("(e, state) => { e.className = 'verdict ' + state; }", state)
    found = contrasts(page)
    assert len(found) > 50
    assert [(ratio, words) for ratio, words in found if ratio < LEAST_CONTRAST] == []


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_nothing_reaches_over_the_window_s_edge(visits: Visits, size: dict[str, int]) -> None:
    page = visits.show(TEXT, viewport=size)
    assert sideways(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]


def test_paper_cuts_no_table(visits: Visits) -> None:
    page = visits.show(TEXT, viewport=PAPER)
    page.emulate_media(media="print", color_scheme="dark")
    cut = "(all) => all.filter((e) => e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1).length"
    assert page.locator(".scroll").evaluate_all(cut) == 0
    assert sideways(page) == []
    assert page.locator("nav").is_hidden()
    assert contrasts(page)[0][0] >= LEAST_CONTRAST


def test_a_screen_reader_finds_landmarks_headings_and_tables(visits: Visits) -> None:
    page = visits.show(TEXT)
    assert [page.locator(place).count() for place in ("header nav", "main", "footer", "h1")] == [1, 1, 1, 1]
    levels = [int(str(e.evaluate("(e) => e.tagName"))[1]) for e in page.get_by_role("heading").all()]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.locator("main th:not([scope])").count() == 0
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator("svg:not([aria-hidden=true]):not([role=img][aria-label])").count() == 0


def test_a_stranger_s_names_are_shown_as_text(visits: Visits) -> None:
    """`visits` fails where a dialog opens, a picture is asked for, or the policy is broken."""
    page = visits.show(regression_page(nasty(HOSTILE), run(HOSTILE), run(HOSTILE)))
    assert page.locator("img[src='x']").count() == 0
    assert HOSTILE in page.locator("h1").inner_text()
    assert HOSTILE in page.locator("#checks").inner_text()
