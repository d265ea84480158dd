"""Every drawing is made without a window, drawn once, and closed."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import pytest

mpl.use("Agg")


@pytest.fixture(autouse=True)
def rendered_and_closed() -> Iterator[None]:
    """Render what a test drew: a text that matplotlib cannot read fails only then."""
    yield
    from matplotlib import pyplot as plt

    try:
        for number in plt.get_fignums():
            plt.figure(number).canvas.draw()
    finally:
        plt.close("all")
