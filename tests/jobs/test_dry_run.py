"""A dry run measures on a few samples, leaves nothing, and its line goes through what it measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.data import arrays
from quantlab.errors import InputError
from quantlab.jobs.estimates import Estimate, StepEstimate, _line, estimate
from quantlab.jobs.explaining import SILENCE
from quantlab.jobs.first_samples import FirstSamples, count_of
from quantlab.jobs.job_file import read_job
from quantlab.jobs.peak_memory import forget_peak, peak_bytes
from quantlab.jobs.run import run_job
from tests.cli.workplace import done, furnish, tree


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return furnish(tmp_path)


@given(st.floats(0, 1e3), st.floats(0, 10), st.integers(1, 100), st.integers(1, 1000), st.integers(0, 10**6))
def test_a_line_is_found_again(start: float, slope: float, first: int, more: int, at: int) -> None:
    sizes = (first, first + more)
    values = (start + slope * sizes[0], start + slope * sizes[1])
    assert _line(sizes, values, at) == pytest.approx(start + slope * at, rel=1e-3, abs=1e-3 * (1 + at))


@given(st.floats(0, 1e3), st.floats(0, 1e3), st.integers(100, 10**6))
def test_a_step_is_never_taken_to_be_quicker_on_more_samples(few: float, many: float, at: int) -> None:
    assert _line((32, 64), (few, many), at) >= many


def test_sums_leave_out_what_is_current() -> None:
    found = Estimate((StepEstimate("a", 2.0, 10, 100), StepEstimate("b", 3.0, 20, 200, current=True)))
    assert (found.seconds, found.memory, found.disk) == (2.0, 10, 100)


def test_the_first_samples_are_those_of_the_set(place: Path) -> None:
    whole = arrays(place / "evaluation.npz", batch=8)
    part = FirstSamples(whole, 12, "evaluation")
    batches = list(part)
    assert [batch.samples for batch in batches] == [8, 8]
    assert [batch.names for batch in batches] == [batch.names for batch in whole][:2]
    assert (len(part), count_of(part), count_of(whole)) == (16, 16, 40)
    assert [index for index, _ in part.pictures([3])] == [3]


def test_every_step_is_estimated_and_nothing_is_left(place: Path) -> None:
    before = tree(place)
    found = estimate(read_job(place / "job.yaml"), ("collect histograms",))
    assert tree(place) == before
    samples = {step.title: step.samples for step in found.steps}
    assert samples == {
        "collect histograms": 24, "calibrate": None, "score the methods": 20, "choose": None, "quantize": None,
        "write the cache": None, "compare": 40, "build for ONNX Runtime": 40, "report": None,
    }  # fmt: skip
    assert found.steps[0].current
    assert all(step.seconds > 0 and step.disk > 0 for step in found.steps)


def test_the_disk_of_a_job_whose_samples_are_all_tried_is_what_the_run_leaves(place: Path) -> None:
    job = read_job(place / "job.yaml", ("ort=false",))
    found = estimate(job)
    run_job(job, listener=SILENCE)
    written = sum(path.stat().st_size for path in (place / "run").rglob("*") if path.is_file())
    assert found.disk == pytest.approx(written, rel=0.15)


def test_what_is_done_is_not_tried_again(place: Path) -> None:
    short = ("--set", "ort=false", "--set", "data.tuning=null", "--set", "choose=minmax")
    done("run", place / "job.yaml", *short)
    ended = done("run", place / "job.yaml", "--dry-run", "--json", *short).json
    assert {(step["seconds"], step["current"]) for step in ended["steps"]} == {(0.0, True)}


def test_one_method_is_scored_for_all_of_them(place: Path) -> None:
    few, many = (
        estimate(read_job(place / "job.yaml", ("ort=false", "data.evaluation=null", f"methods={methods}")))
        .steps[2]
        .disk
        for methods in ("[minmax]", "[minmax, entropy, 'percentile:99']")
    )
    assert many == pytest.approx(3 * few, rel=0.02)


def test_a_module_that_was_not_exported_cannot_be_measured(place: Path) -> None:
    job = read_job(
        place / "job.yaml", ("model=null", "max_drop=1", "qat={module: net.py:build, train: tuning.npz}", "model=run/qat/float.onnx")
    )  # fmt: skip
    with pytest.raises(InputError, match="run `quantlab qat` first"):
        estimate(job)


def test_the_command_prints_estimates_and_writes_nothing(place: Path) -> None:
    before = tree(place)
    short = (
        "--set",
        "ort=false",
        "--set",
        "data.tuning=null",
        "--set",
        "choose=minmax",
        "--set",
        "data.evaluation=null",
    )
    ended = done("run", place / "job.yaml", "--dry-run", *short)
    assert "Nothing was written" in ended.out
    assert "trying 32 samples of each set" in ended.err
    assert done("run", place / "job.yaml", "--dry-run", "--quiet", *short).err == ""
    assert tree(place) == before


def test_the_peak_of_memory_can_be_forgotten() -> None:
    data = bytearray(64 << 20)
    high = peak_bytes()
    assert high is not None
    assert high > len(data)
    del data
    forget_peak()
    low = peak_bytes()
    assert low is not None
    assert low <= high
