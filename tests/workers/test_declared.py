"""What is said of a number of workers before any is started."""

from __future__ import annotations

import os

from quantlab.workers.declared import Workers


def test_many_more_workers_than_cores_are_told() -> None:
    cores = os.cpu_count() or 1
    (said,) = Workers(workers=1000 * cores).remarks
    assert said.startswith(f"{1000 * cores:,} workers for {cores} cores wait for each other")
    assert Workers(workers=1000 * cores, kind="ray").remarks == (said,)


def test_of_a_few_workers_none_and_those_of_a_cluster_nothing_is_said() -> None:
    cores = os.cpu_count() or 1
    asked = (Workers(), Workers(workers=4 * cores), Workers(workers=1000 * cores, kind="ray", address="auto"))
    assert [workers.remarks for workers in asked] == [(), (), ()]
