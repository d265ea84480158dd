"""Threshold search, milliseconds a tensor: `make bench`, or `python -m tests.benchmarks.thresholds` for the figures."""

from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from quantlab.calibration.methods.names import parse_method
from quantlab.numerics.histogram import Histogram
from tests.benchmarks.thresholds import METHODS, activations


@pytest.fixture(scope="module")
def histogram() -> Histogram:
    return Histogram.of(activations(0))


@pytest.mark.parametrize("name", METHODS)
def test_threshold_of_a_tensor(benchmark: BenchmarkFixture, histogram: Histogram, name: str) -> None:
    method: Callable[[Histogram], object] = parse_method(name)
    benchmark(method, histogram)
