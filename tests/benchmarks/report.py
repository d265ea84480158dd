"""The page of 300 tensors in Chromium: how soon it answers, and how large it is.

Run as `python -m tests.benchmarks.report`; needs Playwright and the system's Chromium.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from quantlab.report.page import render
from tests.benchmarks.figures import write_figures
from tests.report.large_report import METHODS, large_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROUNDS = 9
TENSORS = 300

_ANSWER = """([selector, action]) => new Promise((done) => {
  const start = performance.now(), target = document.querySelector(selector);
  if (action === "type") { target.value = "conv.1"; target.dispatchEvent(new Event("input", { bubbles: true })); } else target.click();
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)));
})"""
"""Milliseconds from an action to the frame after the one that shows it."""

_ANSWERED = """window.answered = new Promise((done) => addEventListener("input", () =>
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())))));"""

_ACTIONS = {
    "filtering again": ("#filter-text", "type"),
    "sorting by own SQNR": ("#tensor-table thead tr:last-child th:nth-last-child(2) button", "click"),
    "opening a tensor's histogram": ("#t2 button", "click"),
}


def _first_answer(page: "Page", path: Path) -> float:
    """Return milliseconds from the navigation until the rows that the first key in the filter leaves are on the screen."""
    page.add_init_script(_ANSWERED)
    page.goto(path.as_uri(), wait_until="commit")
    page.locator("#shown:not(:empty)").wait_for()  # a key pressed before the script runs has no field to go to
    page.locator("#filter-text").press_sequentially("1")
    return float(page.evaluate("window.answered"))


def _measure(browser: "Browser", path: Path) -> dict[str, float]:
    """Open the page in a fresh context and return milliseconds, elements and bytes by name."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.set_default_timeout(30_000)
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    found = {"first": _first_answer(page, path)}
    metrics = {one["name"]: float(one["value"]) for one in session.send("Performance.getMetrics")["metrics"]}
    found["cpu"] = 1000 * metrics["TaskDuration"]
    for name, (selector, action) in _ACTIONS.items():
        found[name] = float(page.evaluate(_ANSWER, [selector, action]))
    found["elements"] = float(page.evaluate("document.querySelectorAll('*').length"))
    session.send("HeapProfiler.collectGarbage")
    found["heap"] = float(session.send("Runtime.getHeapUsage")["usedSize"])
    context.close()
    return found


def main() -> None:
    """Measure in fresh contexts of one browser and write the medians."""
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium")
    if executable is None:
        sys.exit("Install Chromium first: apt-get install -y chromium")
    start = time.perf_counter()
    text = render(large_report(TENSORS))
    rendered = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "report.html"
        path.write_text(text, encoding="utf-8", newline="\n")
        root = getattr(os, "geteuid", lambda: 1)() == 0
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"] if root else [])
        _measure(browser, path)  # Chromium itself warms up
        rounds = [_measure(browser, path) for _ in range(ROUNDS)]
        version = browser.version
        browser.close()
    middle = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    figures: dict[str, tuple[float | int | str, str]] = {
        f"tensors, each with a histogram and {len(METHODS)} thresholds": (TENSORS, "tensors"),
        f"navigation to the first filter key answered, median of {ROUNDS}": (round(middle["first"], 1), "ms"),
        "navigation to the first filter key answered, fastest": (round(min(one["first"] for one in rounds), 1), "ms"),
        "navigation to the first filter key answered, slowest": (round(max(one["first"] for one in rounds), 1), "ms"),
        "CPU time of the page's main thread until then, median": (round(middle["cpu"], 1), "ms"),
        "load of the machine, last minute": (
            round(os.getloadavg()[0], 1),
            f"processes that want one of {os.cpu_count()} cores",
        ),
        **{f"{name}, to the second frame after, median": (round(middle[name], 1), "ms") for name in _ACTIONS},
        "file": (len(text.encode()), "bytes"),
        "elements": (int(middle["elements"]), "DOM elements"),
        "JavaScript heap after collection": (round(middle["heap"] / 1e6, 2), "MB"),
        "building and rendering in Python": (round(1000 * rendered, 1), "ms"),
        "browser": (f"Chromium {version}, headless", "version"),
    }
    write_figures("report", "python -m tests.benchmarks.report", figures)


if __name__ == "__main__":
    main()
