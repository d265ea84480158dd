"""Latency: the order of the runs, and the figures that follow from the times."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from quantlab.comparison.backends import Backends
from quantlab.comparison.latency import Latency, measure_latency
from quantlab.errors import InputError, UsageError
from quantlab.numerics.arrays import AnyArray, Tensors
from tests.comparison.networks import Network, samples

BATCH = {"x": samples(5).x}


class Clock:
    """Tells the time that networks have spent."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Timed(Network):
    """A network whose every run takes as long as the list says, over and over."""

    def __init__(self, clock: Clock, log: list[str], name: str, seconds: list[float]) -> None:
        super().__init__()
        self.clock, self.log, self.title, self.seconds, self.runs = clock, log, name, seconds, 0

    def run(self, batch: Tensors) -> Mapping[str, AnyArray]:
        self.clock.now += self.seconds[self.runs % len(self.seconds)]
        self.runs += 1
        self.log.append(self.title)
        return super().run(batch)


def test_the_engines_run_in_turn_and_the_warm_up_is_not_counted() -> None:
    clock, log = Clock(), list[str]()
    fp32, int8 = Timed(clock, log, "A", [9.0, 2.0, 4.0, 3.0]), Timed(clock, log, "B", [9.0, 1.0, 1.0, 1.0])
    found = measure_latency(fp32, int8, BATCH, rounds=3, warm_up=1, clock=clock)
    assert "".join(log) == "AB" * 4
    assert (found.fp32, found.int8, found.batch) == ((2.0, 4.0, 3.0), (1.0, 1.0, 1.0), 5)
    assert found.backends == Backends(fp32.backend, int8.backend)


def test_medians_quartiles_and_speed() -> None:
    found = Latency((0.002, 0.004, 0.003, 0.009, 0.005), (0.001, 0.002, 0.003, 0.003, 0.001), 1, Backends("a", "b"))
    assert (found.fp32_ms, found.int8_ms) == pytest.approx((4.0, 2.0))
    assert (found.fp32_spread_ms, found.int8_spread_ms) == pytest.approx((2.0, 2.0))
    assert found.speed == pytest.approx(2.0)  # the median of 2, 2, 1, 3 and 5


def test_real_time_passes() -> None:
    found = measure_latency(Network(), Network(0.5), BATCH, rounds=2, warm_up=0)
    assert min(found.fp32 + found.int8) > 0
    assert np.isfinite(found.speed)


@pytest.mark.parametrize(("rounds", "warm_up"), [(0, 1), (1, -1)])
def test_no_rounds_are_refused(rounds: int, warm_up: int) -> None:
    with pytest.raises(UsageError, match="at least one round"):
        measure_latency(Network(), Network(), BATCH, rounds=rounds, warm_up=warm_up)


def test_a_batch_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="unknown"):
        measure_latency(Network(), Network(), {"y": BATCH["x"]})


@pytest.mark.parametrize("rows", [2, 5, 8])
def test_networks_of_a_fixed_batch_are_timed_on_that(rows: int) -> None:
    assert measure_latency(Network(rows=rows), Network(0.5, rows=rows), BATCH, rounds=1).batch == rows
