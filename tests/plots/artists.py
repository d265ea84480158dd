"""What is on some axes, as numbers and words."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from quantlab.numerics.arrays import F64


def line(axes: Axes, label: str) -> tuple[F64, F64]:
    """Return the points of the line whose label begins so."""
    (found,) = [one for one in axes.lines if str(one.get_label()).startswith(label)]
    x, y = found.get_data()
    return np.asarray(x, np.float64), np.asarray(y, np.float64)


def labels(axes: Axes) -> list[str]:
    """Return the legend's texts."""
    legend = axes.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def words(axes: Axes) -> str:
    """Return all texts but those of the axes' numbers."""
    return "\n".join([axes.get_title(loc="left"), *(text.get_text() for text in axes.texts)])


def segments(axes: Axes, label: str) -> F64:
    """Return [lines, 2, 2]: the ends of the vertical lines drawn under a label."""
    (found,) = [one for one in axes.collections if str(one.get_label()) == label]
    drawn: Any = found
    return np.array(drawn.get_segments())
