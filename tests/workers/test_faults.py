"""What can happen to workers, with real processes: each test is one thing that must not change the outcome, or be named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from quantlab.errors import InputError, MachineError, StaleError, UsageError
from quantlab.workers.loop import ShardLoop, Survival
from quantlab.workers.processes import ProcessHiring
from quantlab.workers.shelf import Part, Shelf
from tests.workers.tasks import Bench, Pictures, Rows, counted, loop, total, without

pytestmark = pytest.mark.slow
TWO = ProcessHiring(2, threads=1)
ONE = ProcessHiring(1, threads=1)


def run(work: ShardLoop) -> list[Part]:
    try:
        return work.run()
    finally:
        work._pool.close()


def test_a_worker_that_is_killed_changes_nothing(tmp_path: Path) -> None:
    rows = Rows(30, {9: "kill once", 22: "kill once"}, tmp_path)
    found = total(run(loop(rows, TWO, tmp_path)), tmp_path)
    assert found.histograms["x"] == without((), 30)
    assert found.head.hashes == counted(0, 30).head.hashes


def test_a_worker_that_hangs_is_ended_and_its_shard_done_again(tmp_path: Path) -> None:
    rows = Rows(12, {5: "hang once"}, tmp_path)
    found = total(run(loop(rows, ONE, tmp_path, timeout=2.0)), tmp_path)
    assert found.histograms["x"] == without((), 12)


@pytest.mark.parametrize(("fault", "said"), [("die", "exit code 7"), ("kill", "signal 9")])
def test_a_sample_that_ends_its_worker_is_named(tmp_path: Path, fault: str, said: str) -> None:
    with pytest.raises(InputError, match=rf"«row 6» \(sample 6\).*{said}.*or take it out of the data\.$"):
        run(loop(Rows(12, {6: fault}, tmp_path), ONE, tmp_path))


def test_only_of_images_is_said_that_they_can_be_left_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"or leave it out with --skip-bad \(skip_bad in a job\)\.$"):
        run(loop(Pictures(2, {1: "die"}, tmp_path), ONE, tmp_path, shard=2))


def test_no_more_workers_are_started_than_there_are_shards(tmp_path: Path) -> None:
    work = loop(Rows(8), ProcessHiring(2000), tmp_path, shard=4)
    pool: Any = work._pool
    try:
        work.run()
        assert 1 <= len(pool._hired) <= 2
    finally:
        pool.close()


def test_a_sample_on_which_the_engine_hangs_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"«row 1».*not done after 1 s"):
        run(loop(Rows(2, {1: "hang"}, tmp_path), ONE, tmp_path, timeout=1.0, shard=2))


def test_bad_samples_may_be_left_out_and_are_told(tmp_path: Path) -> None:
    work = loop(Rows(16, {0: "refuse", 6: "die", 7: "refuse"}, tmp_path), ONE, tmp_path, skip_bad=True)
    found = total(run(work), tmp_path)
    assert found.histograms["x"] == without((0, 6, 7), 16)
    assert [sample.place for sample in found.head.left_out] == [0, 6, 7]
    assert sorted(sample.place for sample in work.left_out) == [0, 6, 7]
    assert "NaN" in str(found.head.left_out[0])


def test_a_refusal_reads_as_in_one_process(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^Tensor «c» holds 1 NaN\.$"):
        run(loop(Rows(8, {3: "refuse"}, tmp_path), ONE, tmp_path))
    with pytest.raises(InputError, match=r"^ZeroDivisionError: nothing to divide by\.$"):
        run(loop(Rows(8, {3: "bug"}, tmp_path), ONE, tmp_path))


def test_memory_that_is_used_up_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"out of memory twice on the samples 0 … 3.*smaller budget"):
        run(loop(Rows(8, {3: "memory"}, tmp_path), ONE, tmp_path))


def test_workers_that_die_while_they_open_end_the_run(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"3 workers in a row.*exit code 3.*__main__"):
        run(loop(Rows(8, {-1: "die"}, tmp_path), ONE, tmp_path))


def test_workers_that_differ_are_refused_unless_mixing_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(StaleError, match=r"(?s)one.*other.*--allow-mixed|other.*one.*--allow-mixed"):
        run(loop(Rows(16, marks=tmp_path / "a", kinds=("one", "other"), seconds=0.1), TWO, tmp_path / "a"))
    mixed = loop(
        Rows(16, marks=tmp_path / "b", kinds=("one", "other"), seconds=0.1), TWO, tmp_path / "b", allow_mixed=True
    )
    found = total(run(mixed), tmp_path / "b")
    assert {facts.processor for facts in found.head.facts} == {"one", "other"}
    assert found.histograms["x"] == without((), 16)


@dataclass(frozen=True)
class Threads(Rows):
    """A task whose workers claim the number of threads that NumPy may start in them."""

    def open(self, threads: int | None) -> Bench:
        return Bench(replace(self, kinds=(os.environ["OMP_NUM_THREADS"],)))


def test_a_worker_loads_with_its_share_of_the_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = total(run(loop(Threads(4, {}, tmp_path), ProcessHiring(1, threads=3), tmp_path)), tmp_path)
    assert [facts.processor for facts in found.head.facts] == ["3"]
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_negative_time_limit_is_refused() -> None:
    with pytest.raises(UsageError, match="positive number of seconds"):
        Survival(timeout=0)


SCRIPT = """
import sys
from pathlib import Path
from quantlab.workers.processes import ProcessHiring
from tests.workers.tasks import Rows, loop
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    work = loop(Rows(40, marks=folder, seconds=0.05), ProcessHiring(2, threads=1), folder)
    work.run()
"""


def test_a_run_killed_with_sigkill_goes_on_from_its_parts_and_leaves_no_process(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path)], env=environment)
    parts = tmp_path / "parts"
    while not (parts.is_dir() and any(parts.glob("part-*.h5"))):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = Shelf(parts, "0" * 32).parts(40)
    assert kept
    (parts / f"part-{0:012}-{40:012}-{'0' * 32}-{'1' * 32}.h5").write_bytes(b"cut short")
    found = total(run(loop(Rows(40, marks=tmp_path), ONE, tmp_path)), tmp_path)
    assert found.histograms["x"] == without((), 40)
    assert found.head.hashes == counted(0, 40).head.hashes


def test_a_full_disk_is_a_sentence_and_what_was_finished_stays(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))"
    script.write_text(SCRIPT.replace("    work.run()", f"    {full}; work.run()"))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert "MachineError: Cannot write" in done.stderr
    assert all(part.path.is_file() for part in Shelf(tmp_path / "parts", "0" * 32).parts(40))
    found = total(run(loop(Rows(40, marks=tmp_path), ONE, tmp_path)), tmp_path)
    assert found.histograms["x"] == without((), 40)
