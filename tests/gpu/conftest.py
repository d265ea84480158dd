"""Tests that need a GPU are deselected where there is none, and the summary says so."""

from __future__ import annotations

import pytest

from quantlab.engines.cuda.memory import devices

_DESELECTED = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what no machine without a GPU can run."""
    needing = [item for item in items if item.get_closest_marker("gpu") is not None]
    if not needing or devices():
        return
    items[:] = [item for item in items if item not in set(needing)]
    config.hook.pytest_deselected(items=needing)
    config.stash[_DESELECTED] = len(needing)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how many were left out."""
    count = config.stash.get(_DESELECTED, 0)
    if count:
        terminalreporter.write_line(f"NOT RUN: {count} tests marked gpu, because: this machine has no NVIDIA GPU")
