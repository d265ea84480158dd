"""Declared data: which kind a place is, which options go with it, and what enters a recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from quantlab.data import Preprocess
from quantlab.engines.engine import TensorSpec
from quantlab.errors import InputError, UsageError
from quantlab.jobs.data_source import DataSource, digests, open_data, options

INPUTS = {"image": TensorSpec("image", np.dtype("f4"), ("batch", 2))}
LOADER = "import numpy as np\ndef load():\n    yield {'image': np.ones((2, 2), 'f')}\n"


def test_a_place_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "a" / "x.png")
    (tmp_path / "list.txt").write_text("a/x.png\n")
    (tmp_path / "manifest.csv").write_text("path,label\na/x.png,3\n")
    np.save(tmp_path / "x.npy", np.ones((3, 2), "f"))
    np.savez(tmp_path / "x.npz", image=np.ones((3, 2), "f"))
    (tmp_path / "loader.py").write_text(LOADER)
    for place, image in (("a", True), ("list.txt", True), ("manifest.csv", True), ("x.npy", False), ("x.npz", False)):
        data = open_data(DataSource(str(tmp_path / place), Preprocess() if image else None), INPUTS, name="set")
        assert data.identity.name == "set"
        assert len(next(iter(data))) == 1
    script = open_data(DataSource(f"{tmp_path / 'loader.py'}:load"), INPUTS)
    assert next(iter(script))["image"].shape == (2, 2)
    assert open_data(DataSource(random=5), INPUTS).identity.random


@pytest.mark.parametrize(
    ("place", "options", "words"),
    [
        ("x.npz", {"label_pattern": "(1)"}, "label-pattern does not go with an array file"),
        ("x.npz", {"skip_bad": True}, "skip-bad does not go with an array file"),
        ("loader.py", {"preprocess": Preprocess()}, "preprocess does not go with a Python script"),
        ("loader.py", {"input": "image"}, "input does not go with a Python script"),
    ],
)
def test_options_go_with_their_kind_of_data(place: str, options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_data(DataSource(place, **options), INPUTS)  # type: ignore[arg-type]


def test_random_data_take_no_preprocessing() -> None:
    with pytest.raises(UsageError, match="random data"):
        open_data(DataSource(random=3, preprocess=Preprocess()), INPUTS)


def test_there_is_data_or_randomness_and_not_both() -> None:
    for place, random in ((None, None), ("x.npz", 3)):
        with pytest.raises(UsageError, match="one of them"):
            DataSource(place, random=random)


def test_a_missing_place_is_named() -> None:
    with pytest.raises(InputError, match="no data file or folder 'nowhere'"):
        open_data(DataSource("nowhere"), INPUTS)


def test_labels_and_order_enter_a_recipe_only_where_they_count(tmp_path: Path) -> None:
    rows, labels = np.arange(6, dtype="f").reshape(3, 2), np.array([0, 1, 2])
    np.savez(tmp_path / "one.npz", image=rows, label=labels)
    np.savez(tmp_path / "two.npz", image=rows[::-1], label=labels)
    found = {}
    for name in ("one", "two"):
        source = DataSource(str(tmp_path / f"{name}.npz"))
        data = open_data(source, INPUTS)
        found[name] = digests(source, data), digests(source, data, order=True), digests(source, data, labels=True)
    assert found["one"][0] == found["two"][0]
    assert found["one"][1] != found["two"][1]
    np.savez(tmp_path / "one.npz", image=rows, label=labels[::-1])
    source = DataSource(str(tmp_path / "one.npz"))
    assert digests(source, open_data(source, INPUTS), labels=True) != found["one"][2]


def test_labels_of_images_enter_a_recipe(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    found = []
    for label in (3, 4):
        (tmp_path / "m.csv").write_text(f"path,label\nx.png,{label}\n")
        source = DataSource(str(tmp_path / "m.csv"), Preprocess())
        data = open_data(source, INPUTS)
        found.append((digests(source, data), digests(source, data, labels=True)))
    assert found[0][0] == found[1][0]
    assert found[0][1] != found[1][1]


def test_a_script_is_read_once_to_know_what_it_yields(tmp_path: Path) -> None:
    path = tmp_path / "loader.py"
    path.write_text(LOADER)
    source = DataSource(f"{path}:load")
    data = open_data(source, INPUTS)
    assert set(digests(source, data, labels=True)) == {"data", "script"}
    assert len(data) == 2


def test_pillows_version_makes_stale_what_it_decoded_or_resized_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = DataSource("photos", Preprocess())
    resized, plain = (DataSource("x.npz", Preprocess(resize=size)) for size in (8, None))
    assert options(decoded)["Pillow"] == options(resized)["Pillow"] == PIL.__version__
    assert not any("Pillow" in options(source) for source in (plain, DataSource("x.npy"), DataSource(random=3)))
    before = options(decoded)
    monkeypatch.setattr(PIL, "__version__", "99.0")
    assert options(decoded) != before
