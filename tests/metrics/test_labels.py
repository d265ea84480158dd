"""Labels that are not one integer a sample: by name, by place, out of files, and files that are no good."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from quantlab.comparison.labelled import LabelledBatches
from quantlab.data import Preprocess, images, stream
from quantlab.data.batch import Batch
from quantlab.errors import InputError
from quantlab.metrics.detection.coco_labels import read_coco
from quantlab.metrics.detection.placing import Placing
from quantlab.metrics.label_files import read_labels
from quantlab.metrics.labels import NamedLabels, RowLabels
from quantlab.metrics.pair_correlation import pair_labels
from tests.comparison.laws import law


def batch(*names: str) -> Batch:
    return Batch({"x": np.zeros((len(names), 1), np.float32)}, names=names)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def coco(**other: Any) -> dict[str, Any]:
    return {
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": 200, "height": 100},
            {"id": 9, "file_name": "b.jpg", "width": 100, "height": 100},
        ],
        "annotations": [
            {"image_id": 7, "category_id": 90, "bbox": [20, 10, 100, 50], "iscrowd": 0, "segmentation": []},
            {"image_id": 7, "category_id": 3, "bbox": [0, 0, 10, 10], "iscrowd": 1},
        ],
        "categories": [{"id": 90, "name": "last"}, {"id": 3, "name": "first"}],
        **other,
    }


def test_texts_are_found_by_name_wherever_the_file_lies(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path / "words.csv", 'name,text\na.png,"one, two"\nb.png,ß\n'))
    found = labels.of(batch("deep/b.png", "a.png"), 0)
    assert found.tolist() == ["ß", "one, two"]
    assert found.dtype.kind == "U"
    with pytest.raises(InputError, match=r"no label for the sample «c\.png»"):
        labels.of(batch("c.png"), 0)
    with pytest.raises(InputError, match="the samples from 4 on have none"):
        labels.of(Batch({"x": np.zeros((1, 1))}), 4)


def test_labels_without_names_go_by_the_data_s_order(tmp_path: Path) -> None:
    values = read_labels(written(tmp_path / "v.csv", "value\n0.5\n-1e3\n2\n"))
    assert values.of(batch("x", "y"), 1).tolist() == [-1000.0, 2.0]
    classes = read_labels(written(tmp_path / "c.csv", "label\n3\n1\n"))
    assert classes.of(batch("x", "y"), 0).dtype == np.int64
    with pytest.raises(InputError, match="3 labels, but more samples"):
        values.of(batch("x", "y"), 2)
    with pytest.raises(InputError, match=r"labels of shape \[3\] for 4 samples"):
        values.check(4)


def test_masks_come_out_of_arrays(tmp_path: Path) -> None:
    masks = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.savez(tmp_path / "m.npz", mask=masks, other=np.zeros(2))
    np.save(tmp_path / "m.npy", masks)
    for name in ("m.npz", "m.npy"):
        assert np.array_equal(read_labels(tmp_path / name).of(batch("x"), 1), masks[1:])
    np.savez(tmp_path / "two.npz", a=masks, b=masks)
    with pytest.raises(InputError, match="call the array of labels one of"):
        read_labels(tmp_path / "two.npz")
    np.savez(tmp_path / "objects.npz", mask=np.array([{}, {}], object))
    with pytest.raises(InputError, match="Python objects"):
        read_labels(tmp_path / "objects.npz")


def test_pairs_go_by_places_or_by_names(tmp_path: Path) -> None:
    placed = read_labels(written(tmp_path / "p.csv", "first,second,value\n0,2,5\n1,2,3.5\n"))
    expected = pair_labels(3, [(0, 2, 5.0), (1, 2, 3.5)])
    assert np.array_equal(placed.of(batch("a", "b", "c"), 0), expected)
    lone = placed.of(batch("d", "e"), 3)
    assert lone[:, :3].tolist() == [[3, 1, -1], [4, 1, -1]]
    with pytest.raises(InputError, match="there are only 2"):
        placed.check(2)
    named = read_labels(written(tmp_path / "n.csv", "first,second,value\na,c,5\nb,c,3.5\n"))
    assert np.array_equal(named.of(batch("a", "c", "b"), 0), pair_labels(3, [(0, 1, 5.0), (2, 1, 3.5)])[[0, 1, 2]])


def test_boxes_come_by_file_name_with_categories_numbered_by_their_ids(tmp_path: Path) -> None:
    path = written(tmp_path / "coco.json", json.dumps(coco()))
    found = read_coco(path)
    assert found.categories == ("first", "last")
    true, none = found.labels.of(batch("val/a.jpg", "b.jpg"), 0)
    assert true.corners.tolist() == [[20, 10, 120, 60], [0, 0, 10, 10]]
    assert true.classes.tolist() == [1, 0]
    assert true.crowd.tolist() == [False, True]
    assert len(none.classes) == 0


def test_boxes_move_with_the_pixels_of_their_image(tmp_path: Path) -> None:
    path = written(tmp_path / "coco.json", json.dumps(coco()))
    labels = read_labels(path, Preprocess(resize=50, crop=(50, 60)))
    (true,) = labels.of(batch("a.jpg"), 0)
    # 200×100 becomes 100×50, of which columns 20 … 80 are kept.
    assert true.corners.tolist() == [[0, 5, 40, 30], [0, 0, 0, 5]]


@law
@given(
    st.integers(20, 60),
    st.integers(20, 60),
    st.one_of(st.none(), st.integers(20, 50), st.tuples(st.integers(20, 50), st.integers(20, 50))),
    st.one_of(st.none(), st.tuples(st.integers(5, 20), st.integers(5, 20))),
)
def test_a_bright_box_lies_where_its_placing_says(height: int, width: int, resize: Any, crop: Any) -> None:
    box = np.array([[width // 4, height // 4, width // 4 + width // 2, height // 4 + height // 2]], np.float64)
    pixels = np.zeros((height, width), np.uint8)
    left, top, right, bottom = box[0].astype(int)
    pixels[top:bottom, left:right] = 255
    preprocess = Preprocess(resize=resize, crop=crop, color="GRAY", interpolation="nearest")
    seen = preprocess.apply_image(Image.fromarray(pixels))[0] > 127
    moved = Placing.of(preprocess, height, width).moved(box)[0]
    rows, columns = np.nonzero(seen)
    if rows.size:
        assert np.abs(moved - [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).max() <= 1


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("l.csv", "", "holds no labels"),
        ("l.csv", "name,text\n", "holds no labels"),
        ("l.csv", "name,colour\na,b\n", "has the columns name,colour"),
        ("l.csv", "name,text\na\n", "line 2: 2 cells are due, as in the header, not 1"),
        ("l.csv", "name,text\na,b\na,c\n", "line 3: «a» has a label already"),
        ("l.csv", "name,value\na,nan\n", "«nan» is no finite number"),
        ("l.csv", "name,label\na,-1\n", "«-1» is no class"),
        ("l.csv", 'name,text\na,"b\n', "cannot be read as CSV"),
        ("l.csv", "name,text\na," + 140_000 * "x" + "\n", "line 2, cannot be read as CSV: field larger than"),
        ("l.csv", "first,second,value\n0,99999999,1\n", "judges sample 99999999, but has 1 pairs"),
        ("l.json", "{", "JSON is damaged"),
        ("l.json", "[" * 100_000, "JSON is damaged"),
        ("l.json", "[]", "holds no COCO annotations"),
        ("l.json", json.dumps(coco(images=[])), "images"),
        (
            "l.json",
            json.dumps(coco(annotations=[{"image_id": 8, "category_id": 3, "bbox": [0, 0, 1, 1]}])),
            "not both listed",
        ),
        (
            "l.json",
            json.dumps(coco(annotations=[{"image_id": 7, "category_id": 3, "bbox": [0, 0, -1, 1]}])),
            "negative size",
        ),
        (
            "l.json",
            json.dumps(coco(annotations=[{"image_id": 7, "category_id": 3, "bbox": [0, 0, 1]}])),
            r"annotations\.0\.bbox",
        ),
        ("l.json", json.dumps(coco(images=[*coco()["images"], coco()["images"][0]])), "lists an image twice"),
        ("l.txt", "a", "Labels are read from"),
    ],
)
def test_a_file_that_is_no_good_is_refused_in_a_sentence(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_labels(written(tmp_path / name, text))


def test_files_that_are_missing_or_too_large_are_refused(tmp_path: Path) -> None:
    for name in ("no.csv", "no.json", "no.npz"):
        with pytest.raises(InputError, match="There is no file"):
            read_labels(tmp_path / name)
    for name in ("large.csv", "large.json"):
        with (tmp_path / name).open("wb") as file:
            file.truncate((1 << 26) + 1)
        with pytest.raises(InputError, match="has at most"):
            read_labels(tmp_path / name)
    with (tmp_path / "large.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (2, 1 << 30)})
        file.truncate(file.tell() + (1 << 31))
    with pytest.raises(InputError, match="take 2,147,483,648 bytes"):
        read_labels(tmp_path / "large.npy")
    one_long = written(tmp_path / "long.csv", "text\n" + "x" * 60_000 + "\ny" * 5_000)
    with pytest.raises(InputError, match="take 1,200,240,000 bytes"):
        read_labels(one_long)


def test_batches_carry_labels_by_name_in_any_order(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / f"{name}.png")
    data = images(tmp_path, preprocess=Preprocess(color="GRAY"), batch=2)
    by_name = NamedLabels({"c.png": "third", "a.png": "first", "b.png": "second", "d.png": "none"}, str, "l.csv")
    found = [labels.tolist() for _, labels in LabelledBatches(data, by_name).batches(["x"]) if labels is not None]
    assert found == [["first", "second"], ["third"]]


def test_batches_carry_labels_by_place() -> None:
    rows = [{"x": np.zeros((2, 3), np.float32)}, {"x": np.ones((1, 3), np.float32)}]
    texts = LabelledBatches(stream(rows), np.array(["a", "b", "c"]))
    assert [labels.tolist() for _, labels in texts.batches(["x"]) if labels is not None] == [["a", "b"], ["c"]]
    with pytest.raises(InputError, match="but more samples"):
        list(LabelledBatches(stream(rows), RowLabels(np.zeros(2))).batches(["x"]))
