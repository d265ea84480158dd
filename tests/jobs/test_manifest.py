"""The manifest: what is current, what is stale and why, and what is not ours."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from quantlab.errors import InputError, StaleError
from quantlab.jobs.manifest import NAME, Recipe, listed, note_run, record, recorded, remove, run_of, state
from quantlab.jobs.run_facts import verified

RECIPE = Recipe("collect", {"model": "sha256:" + "a" * 64, "data": "blake2b:" + "b" * 64}, {"expose": "all"})


def written(folder: Path, name: str = "histograms.h5", text: str = "counts") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_missing_file_is_absent(tmp_path: Path) -> None:
    assert state(tmp_path / "histograms.h5", RECIPE) == "absent"


def test_a_recorded_file_is_current(tmp_path: Path) -> None:
    path = written(tmp_path)
    record(path, RECIPE, versions={"onnxruntime": "1.31"})
    assert state(path, RECIPE) == "current"
    entry = recorded(path)
    assert entry is not None
    assert entry.versions == {"onnxruntime": "1.31"}


def test_tuples_and_lists_are_the_same_option(tmp_path: Path) -> None:
    path = written(tmp_path)
    record(path, Recipe("collect", {}, {"expose": ("a", "b")}))
    assert state(path, Recipe("collect", {}, {"expose": ["a", "b"]})) == "current"


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe("collect", {**RECIPE.inputs, "data": "blake2b:" + "c" * 64}, RECIPE.options), "the data changed (blake2b:bbbbbbbb… → blake2b:cccccccc…)"),
        (Recipe("collect", {**RECIPE.inputs, "labels": "x"}, RECIPE.options), "made without the labels"),
        (Recipe("collect", {"model": RECIPE.inputs["model"]}, RECIPE.options), "made with the data, which is not given now"),
        (Recipe("collect", RECIPE.inputs, {"expose": "quantizable"}), 'option expose was "all" and is "quantizable"'),
        (Recipe("collect", RECIPE.inputs, {"expose": "all", "preprocess": {"mean": [0.5]}}), "option preprocess.mean was not given and is [0.5]"),
        (Recipe("calibrate", RECIPE.inputs, RECIPE.options), "made by `collect`, not by `calibrate`"),
    ],
)  # fmt: skip
def test_a_stale_file_says_what_changed(tmp_path: Path, recipe: Recipe, words: str) -> None:
    path = written(tmp_path)
    record(path, RECIPE)
    with pytest.raises(StaleError) as caught:
        state(path, recipe)
    assert words in str(caught.value)
    assert "--force" in str(caught.value)


def test_an_edited_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    record(path, RECIPE)
    path.write_text("other")
    with pytest.raises(InputError, match="changed after quantlab made it"):
        state(path, RECIPE)


def test_a_file_that_nobody_recorded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="was not made by quantlab"):
        state(written(tmp_path), RECIPE)


def test_a_run_folder_speaks_for_its_subfolders(tmp_path: Path) -> None:
    record(written(tmp_path), RECIPE)
    inner = written(tmp_path, "scales/minmax.json")
    record(inner, RECIPE)
    assert not (inner.parent / NAME).exists()
    assert set(json.loads((tmp_path / NAME).read_text())["files"]) == {"histograms.h5", "scales/minmax.json"}
    assert state(inner, RECIPE) == "current"


def test_a_strangers_manifest_above_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('{"name": "my web app"}')
    inner = written(tmp_path, "run/histograms.h5")
    record(inner, RECIPE)
    assert json.loads((tmp_path / NAME).read_text()) == {"name": "my web app"}
    assert state(inner, RECIPE) == "current"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"name": "my web app"}', '{"format": "quantlab manifest", "version": 9, "files": {}}', "[" * 100_000,
     '{"format": "quantlab manifest", "version": 1, "files": {"a": {"recipe": 3}}}',
     '{"format": "quantlab manifest", "version": 1, "files": []}'],
)  # fmt: skip
def test_a_foreign_or_damaged_manifest_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    path = written(tmp_path)
    for use in (lambda: record(path, RECIPE), lambda: listed(tmp_path), lambda: state(path, RECIPE)):
        with pytest.raises(InputError, match="no manifest that this quantlab wrote"):
            use()
    assert (tmp_path / NAME).read_text() == text


def test_commands_at_once_lose_no_entry(tmp_path: Path) -> None:
    paths = [written(tmp_path, f"{number}.json") for number in range(12)]
    threads = [threading.Thread(target=record, args=(path, RECIPE)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [state(path, RECIPE) for path in paths] == ["current"] * len(paths)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([NAME, *(p.name for p in paths)])


def test_removing_takes_file_and_entry(tmp_path: Path) -> None:
    one, two = written(tmp_path, "one.json"), written(tmp_path, "two.json")
    for path in (one, two):
        record(path, RECIPE)
    two.write_text("edited")
    with pytest.raises(InputError, match="two"):
        remove(tmp_path, ("one.json", "two.json"))
    assert one.exists()
    remove(tmp_path, ("one.json",))
    assert not one.exists()
    assert list(listed(tmp_path)) == ["two.json"]


def test_facts_of_a_run_stay_when_files_are_recorded(tmp_path: Path) -> None:
    facts = {"command": ["quantlab", "run"], "seed": 0}
    record(written(tmp_path), RECIPE)
    note_run(tmp_path, facts)
    before = (tmp_path / NAME).stat().st_mtime_ns
    note_run(tmp_path, facts)
    assert (tmp_path / NAME).stat().st_mtime_ns == before
    record(written(tmp_path, "b"), RECIPE)
    remove(tmp_path, ("b",))
    assert run_of(tmp_path) == facts
    assert set(listed(tmp_path)) == {"histograms.h5"}


def test_what_is_missing_edited_unfinished_or_outside_is_told(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name in ("a", "b", "c"):
        record(written(run, name), RECIPE)
    assert verified(run) == ()
    (run / "a").unlink()
    (run / "b").write_text("edited")
    document = json.loads((run / NAME).read_text())
    (run / ".c.lock").write_text("")
    document["files"]["../x"] = document["files"]["a"]
    (run / NAME).write_text(json.dumps(document))
    wrong = " ".join(verified(run))
    assert [
        word in wrong for word in ("a' is missing", "b' is not as it was made", "c' was not finished", "'../x'")
    ] == [True] * 4
    assert len(verified(run)) == 4
    with pytest.raises(InputError, match="has no manifest"):
        verified(tmp_path / "nothing")
