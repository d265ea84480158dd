"""Counting and collecting: `make bench`; the figures that the documents quote come from `python -m tests.benchmarks.collecting`."""

import os
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from quantlab import engines
from quantlab.collector.collect import collect
from quantlab.numerics.counting import Tally, new_lanes
from tests.benchmarks.sample import calibration, network
from tests.benchmarks.thresholds import activations

IMAGES = 32


@pytest.fixture(scope="module")
def batches() -> list[dict[str, Any]]:
    return [dict(b.bind(["input"])) for b in calibration(_root(), limit=IMAGES, batch=IMAGES)]


def test_counting_a_million_floats(benchmark: BenchmarkFixture) -> None:
    values, lanes, tally = activations(0), new_lanes(), Tally()
    benchmark(tally.add, values, lanes)


def test_plain_inference(benchmark: BenchmarkFixture, batches: list[dict[str, Any]]) -> None:
    with engines.ort(network(_root())) as engine:
        benchmark(engine.run, batches[0])


@pytest.mark.parametrize("expose", ["quantizable", "all"])
def test_collecting(benchmark: BenchmarkFixture, batches: list[dict[str, Any]], expose: str) -> None:
    with engines.ort(network(_root()), expose=expose) as engine:
        benchmark(collect, engine, batches)


def _root() -> Path:
    folder = os.environ.get("QUANTLAB_REFERENCE")
    if not folder:
        pytest.skip("needs the reference material: set QUANTLAB_REFERENCE to its folder")
    return Path(folder)
