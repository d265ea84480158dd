"""Pages in the Chromium of the system: what a page asks of the network or complains of fails the test that opened it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

WIDE = {"width": 1200, "height": 900}
PHONE = {"width": 360, "height": 800}
PAPER = {"width": 1017, "height": 687}
"""A4 landscape without its margins of 14 mm, in CSS pixels."""

_CONTRASTS = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")


@dataclass(slots=True)
class Visits:
    """Opens pages, each in a context of its own, and keeps what they complain of."""

    browser: Browser
    folder: Path
    complaints: list[str] = field(default_factory=list)

    def show(self, text: str, **options: Any) -> Page:
        """Open this HTML from a file; `options` are those of a browser's context."""

        def refuse(dialog: Dialog) -> None:
            self.complaints.append("opens a dialog")
            dialog.dismiss()

        path = self.folder / f"page-{len(list(self.folder.iterdir()))}.html"
        path.write_text(text, encoding="utf-8", newline="\n")
        page = self.browser.new_context(**({"viewport": WIDE} | options)).new_page()
        page.on("request", lambda request: self._unless(request.url == path.as_uri(), f"asks for {request.url}"))
        page.on("console", lambda said: self._unless(said.type not in ("error", "warning"), f"says «{said.text}»"))
        page.on("pageerror", lambda error: self.complaints.append(f"raises «{error}»"))
        page.on("dialog", refuse)
        page.goto(path.as_uri())
        return page

    def _unless(self, fine: bool, complaint: str) -> None:
        if not fine:
            self.complaints.append(complaint)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser a file: Playwright's event loop must not outlive it, as tests after it may run loops of their own."""
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("needs Chromium: apt-get install -y chromium")
    root = getattr(os, "geteuid", lambda: 1)() == 0
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"] if root else [])
        yield browser
        browser.close()


@pytest.fixture
def visits(chromium: Browser, tmp_path: Path) -> Iterator[Visits]:
    """Fails the test whose pages ask for another file, log an error, break their policy, raise or open a dialog."""
    made = Visits(chromium, tmp_path)
    yield made
    for context in list(chromium.contexts):
        context.close()
    assert made.complaints == []


def contrasts(page: Page) -> list[tuple[float, str]]:
    """Return the WCAG 2 contrast of every visible text with what it lies on, and the text, the lowest first."""
    found: list[list[Any]] = page.evaluate(_CONTRASTS)
    return sorted((float(ratio), str(text)) for ratio, text in found)


def sideways(page: Page) -> list[str]:
    """Return what reaches over the window's right edge and cannot be scrolled to in a box of its own."""
    found: list[str] = page.evaluate(
        """() => Array.from(document.body.querySelectorAll("*"))
          .filter((e) => !e.closest(".skip, .hidden") && !e.parentElement.closest(".scroll, nav ul"))
          .filter((e) => e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
          .map((e) => e.tagName + " " + (e.textContent || "").trim().slice(0, 60))"""
    )
    return found
