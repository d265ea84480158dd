"""The same loop over Ray's actors: lost ones are replaced, bad samples named, and nothing is reported to anyone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quantlab.errors import InputError, MachineError
from quantlab.workers.loop import ShardLoop
from quantlab.workers.ray_cluster import RayHiring, _check_answers
from quantlab.workers.shelf import Part
from tests.workers.tasks import Rows, counted, loop, total, without

ray: Any = pytest.importorskip("ray", reason="needs Ray: pip install 'quantlab[ray]'")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def one_ray_for_all() -> Iterator[None]:
    """Start Ray once, as a program may that uses it anyway."""
    from quantlab.workers.ray_cluster import _connect, _ray

    library = _ray()
    _connect(library, RayHiring(2, threads=1), 2)
    yield
    library.shutdown()


def run(work: ShardLoop) -> list[Part]:
    try:
        return work.run()
    finally:
        work._pool.close()


def test_lost_actors_are_replaced_and_change_nothing(tmp_path: Path) -> None:
    rows = Rows(30, {4: "kill once", 22: "kill once"}, tmp_path)
    found = total(run(loop(rows, RayHiring(2, threads=1), tmp_path)), tmp_path)
    assert found.histograms["x"] == without((), 30)
    assert found.head.hashes == counted(0, 30).head.hashes
    assert ray.is_initialized()  # whoever started it ends it


def test_a_sample_that_ends_its_actor_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"«row 1» \(sample 1\).*was lost.*Actor.*take it out of the data"):
        run(loop(Rows(2, {1: "die"}, tmp_path), RayHiring(1, threads=1), tmp_path, shard=2))


def test_an_actor_that_hangs_is_ended_and_its_shard_done_again(tmp_path: Path) -> None:
    rows = Rows(8, {5: "hang once"}, tmp_path)
    found = total(run(loop(rows, RayHiring(1, threads=1), tmp_path, timeout=3.0)), tmp_path)
    assert found.histograms["x"] == without((), 8)


def test_a_refusal_reads_as_in_one_process(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^Tensor «c» holds 1 NaN\.$"):
        run(loop(Rows(8, {3: "refuse"}, tmp_path), RayHiring(1, threads=1), tmp_path))


def test_an_address_at_which_nothing_listens_is_a_sentence() -> None:
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        with pytest.raises(MachineError, match="Ray does not answer at"):
            _check_answers(address)


def test_nothing_is_reported_to_anyone() -> None:
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
