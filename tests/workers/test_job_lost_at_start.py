"""A worker that is killed before it has read what it is to do, however much that is, is lost and nothing more."""

from __future__ import annotations

import multiprocessing
import threading
from dataclasses import dataclass

import pytest

from quantlab.workers.pool import Lost
from quantlab.workers.processes import ProcessHiring
from tests.workers.tasks import Rows

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Heavy(Rows):
    """A task of 64 MiB: more than any pipe takes at once."""

    weights: bytes = bytes(64 << 20)


def test_a_large_task_to_a_process_that_is_killed_at_once_does_not_hang() -> None:
    pool = ProcessHiring(1, threads=1).pool(Heavy(4))
    stop = threading.Event()

    def kill_the_first() -> None:
        while not stop.is_set():
            for process in multiprocessing.active_children():
                process.kill()
                return

    killer = threading.Thread(target=kill_the_first)
    killer.start()
    try:
        worker = pool.hire()
        killer.join()
        ((found, outcome),) = pool.wait([worker], 30.0)
        assert found is worker
        assert isinstance(outcome, Lost)
        assert "signal 9" in str(outcome)
    finally:
        stop.set()
        pool.close()
