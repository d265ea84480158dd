"""Parts: merged in any grouping they are the whole, and stored they come back; what is to do is never lost or done twice."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.errors import InputError, StaleError
from quantlab.workers.collecting import Counted, merged
from quantlab.workers.ledger import GROUP, Gaps, Span, Stacks, pace_of
from quantlab.workers.part_form import Head, LeftOut, check_hashes, opened, recipe_digest
from quantlab.workers.pool import Facts
from quantlab.workers.shelf import Part, Shelf
from tests.workers.tasks import counted

FACTS = Facts({"onnxruntime": "1.31"}, "a processor")
RECIPE = "0123456789abcdef" * 4


@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.data())
def test_parts_merged_in_any_grouping_are_the_whole(cuts: list[int], data: st.DataObject) -> None:
    ends = sorted({0, *cuts, 12})
    parts = [counted(start, stop, FACTS) for start, stop in pairwise(ends)]
    whole = counted(0, 12, FACTS)
    while len(parts) > 1:
        place = data.draw(st.integers(0, len(parts) - 2))
        parts[place : place + 2] = [parts[place].merge(parts[place + 1])]
    assert parts[0].histograms["x"] == whole.histograms["x"]
    assert parts[0].head == whole.head


@given(st.integers(0, 5), st.integers(0, 5), st.text(max_size=5).filter(lambda name: name.isprintable()))
def test_a_stored_part_comes_back(start: int, rows: int, name: str) -> None:
    part = counted(start, start + rows, FACTS)
    head = Head((FACTS,), (*part.head.hashes, b""), (LeftOut(9, name, "ended by signal 11"),), (3, 4))
    again = Counted.parse(Counted(head, part.histograms).render())
    assert again.head == head
    assert again.histograms == part.histograms


def test_equal_parts_have_equal_bytes() -> None:
    assert counted(0, 5, FACTS).render() == counted(0, 5, FACTS).render()


def test_a_part_of_samples_that_are_all_left_out_adds_nothing() -> None:
    nothing = Counted.parse(Counted.without([LeftOut(5, "five", "hangs")]).render())
    for both in (nothing.merge(counted(0, 5)), counted(0, 5).merge(nothing)):
        assert both.histograms["x"] == counted(0, 5).histograms["x"]
        assert [sample.place for sample in both.head.left_out] == [5]


def test_merging_no_part_is_refused() -> None:
    with pytest.raises(InputError, match="nothing to calibrate on"):
        merged([])


@pytest.mark.parametrize("data", [b"", b"no HDF5", counted(0, 2).render()[:900]])
def test_what_is_no_part_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="cannot be read as a stored part"), opened(data):
        pass


def test_a_part_of_other_samples_than_the_data_s_is_refused() -> None:
    part = counted(3, 6).head
    check_hashes(part.hashes, part, 3)
    with pytest.raises(StaleError, match="another sample 4 than was declared"):
        check_hashes((part.hashes[0], b"?" * 32, part.hashes[2]), part, 3)
    with pytest.raises(StaleError, match="read 3 samples from 3 on, where there are 2"):
        check_hashes(part.hashes[:2], part, 3)


def test_parts_survive_on_disk_and_only_whole_ones_of_this_recipe_are_taken(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, RECIPE)
    kept = [shelf.put(0, 4, b"first"), shelf.put(8, 12, b"third")]
    damaged = shelf.put(4, 8, b"second")
    damaged.path.write_bytes(b"secund")
    other = Shelf(tmp_path, "f" * 64).put(4, 8, b"of another model")
    half = tmp_path / ".part-000000000004-000000000008-0123-0123456789abcdef.h5"
    half.write_bytes(b"half")
    assert Shelf(tmp_path, RECIPE).parts(12) == kept
    assert other.path.exists()
    assert not damaged.path.exists()
    assert not half.exists()
    assert [shelf.read(part) for part in kept] == [b"first", b"third"]


def test_a_part_within_a_merged_one_and_one_beyond_the_data_are_dropped(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, RECIPE)
    small, large, beyond = shelf.put(4, 8, b"b"), shelf.put(0, 16, b"all"), shelf.put(16, 40, b"beyond")
    assert shelf.parts(20) == [large]
    assert not small.path.exists()
    assert not beyond.path.exists()


def test_a_part_that_changes_while_it_is_needed_is_not_used(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, RECIPE)
    part = shelf.put(0, 4, b"first")
    part.path.write_bytes(b"fir")
    with pytest.raises(InputError, match="not as it was written"):
        shelf.read(part)
    part.path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        shelf.read(part)


def test_clearing_leaves_a_user_s_own_files(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "parts", RECIPE)
    shelf.put(0, 4, b"first")
    shelf.clear()
    assert not (tmp_path / "parts").exists()
    shelf.put(0, 4, b"first")
    (tmp_path / "parts" / "notes.txt").write_text("mine")
    shelf.clear()
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["notes.txt"]
    Shelf(tmp_path / "never made", RECIPE).clear()


@pytest.mark.parametrize(
    ("fields", "hashes"),
    [({"model": "b"}, [b"1" * 32]), ({"model": "a"}, [b"2" * 32]), ({"model": "a"}, [b"1" * 32, b"2" * 32])],
)
def test_another_model_or_other_samples_make_another_recipe(fields: dict[str, str], hashes: list[bytes]) -> None:
    assert recipe_digest({"model": "a"}, [b"1" * 32]) == recipe_digest({"model": "a"}, [b"1" * 32])
    assert recipe_digest({"model": "a"}, [b"1" * 32]) != recipe_digest(fields, hashes)


def test_another_order_of_samples_makes_another_recipe() -> None:
    assert recipe_digest({}, [b"1" * 32, b"2" * 32]) != recipe_digest({}, [b"2" * 32, b"1" * 32])


@given(
    st.integers(1, 200),
    st.integers(1, 20),
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 190), st.integers(1, 30)), max_size=4),
    st.data(),
)
def test_every_sample_that_is_not_done_is_handed_out_once(
    total: int, shard: int, workers: int, known: list[tuple[int, int]], data: st.DataObject
) -> None:
    done: list[Part] = []
    for start, length in sorted(known):
        if start + length <= total and (not done or done[-1].stop <= start):
            done.append(Part(start, start + length, Path()))
    gaps = Gaps(total, done, shard)
    seen = np.zeros(total, int)
    for part in done:
        seen[part.start : part.stop] += 1
    while len(gaps):
        pace = data.draw(st.sampled_from([None, 1e-6, 0.5, 100.0]))
        span = gaps.take(workers, pace, 10.0)
        seen[span.start : span.stop] += 1
        assert span.stop % shard == 0 or span.stop == total or any(part.start == span.stop for part in done)
    assert (seen == 1).all()


@given(st.integers(2, 500), st.integers(0, 300), st.integers(1, 64))
def test_halves_are_cut_at_the_grain_where_there_is_one_within(length: int, start: int, grain: int) -> None:
    one, two = Span(start, start + length).halves(grain)
    assert (one.start, one.stop, two.stop) == (start, two.start, start + length)
    assert len(one) > 0 < len(two)
    inner = [place for place in range(start + 1, start + length) if place % grain == 0]
    assert one.stop % grain == 0 or not inner


def test_eight_neighbours_of_one_level_are_merged_and_no_others() -> None:
    stacks = Stacks(())
    for place in (*range(3, 10), 20, 30):
        stacks.add(Part(place, place + 1, Path()))
    assert stacks.group() == ()
    stacks.add(Part(2, 3, Path()))
    group = stacks.group()
    assert [part.start for part in group] == [*range(2, 10)]
    assert len(group) == GROUP
    assert stacks.group() == ()  # they are being merged
    stacks.replace(group, Part(2, 10, Path()))
    assert [(part.start, part.stop) for part in stacks.parts] == [(2, 10), (20, 21), (30, 31)]


def test_a_time_limit_and_many_workers_set_the_pace() -> None:
    assert pace_of(4, None) == 10.0
    assert pace_of(1000, None) == 60.0
    assert pace_of(1000, 8.0) == 2.0
