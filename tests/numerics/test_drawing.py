"""Drawing a histogram: one line a method, and no histogram that cannot be drawn."""

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pytest

from quantlab.calibration.methods.entropy import Entropy
from quantlab.calibration.methods.minmax import MinMax
from quantlab.numerics.arrays import F32
from quantlab.numerics.drawing import plot
from quantlab.numerics.histogram import Histogram
from tests.numerics.tensors import LARGEST, activation, f32

mpl.use("Agg")


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    from matplotlib import pyplot as plt

    plt.close("all")


def test_each_method_is_a_line_at_its_threshold_with_its_name() -> None:
    seen = Histogram.of(activation("silu"))
    methods = (MinMax(), Entropy())
    axes = plot(seen, *methods)
    assert [line.get_xdata()[0] for line in axes.lines] == [method(seen).amax for method in methods]  # type: ignore[index]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text().split(": ")[0] for text in legend.get_texts()] == [repr(method) for method in methods]


def test_it_draws_where_it_is_told() -> None:
    from matplotlib import pyplot as plt

    _, axes = plt.subplots()
    assert plot(Histogram.of(activation("gauss")), ax=axes) is axes
    assert axes.get_legend() is None


@pytest.mark.parametrize(
    "x",
    [np.zeros(0, np.float32), np.zeros(3, np.float32), f32(5.0), f32(1e-44), f32(LARGEST)],
)
def test_any_histogram_can_be_drawn(x: F32) -> None:
    axes = plot(Histogram.of(x))
    axes.get_figure().canvas.draw()  # type: ignore[union-attr]
