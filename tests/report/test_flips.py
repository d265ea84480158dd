"""Samples whose answer changes: pictures, class names, what each class loses."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

from quantlab.comparison.agreement import Agreement, Flip
from quantlab.comparison.sample_table import SampleTable
from quantlab.errors import InputError
from quantlab.report.build import build
from quantlab.report.flips import ClassCost, flipped
from quantlab.report.page import render
from quantlab.report.run_folder import read_run
from tests.report.html_tree import parse
from tests.report.runs import comparison, parts
from tests.report.test_run_folder import write_comparison

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
JPEG = b"\xff\xd8\xff" + b"pixels"
FLIPS = (
    Flip(3, "shoe.png", 1, 1, 2),
    Flip(5, "", None, 4, 5),
    Flip(7, "bag.png", 1, 4, 1),
    Flip(9, "cap.png", 1, 1, -1),
)


def samples(**pictures: bytes) -> SampleTable:
    zeros = np.zeros(10)
    labels = np.array([0, 1, 1, 1, 2, 2, 2, 1, 0, 1])
    found = {int(index[1:]): data for index, data in pictures.items()}
    return SampleTable(zeros, zeros, labels=labels, confidence=np.linspace(0, 0.9, 10), pictures=found)


def test_what_a_class_loses_and_gains_is_counted_by_label() -> None:
    found = flipped(FLIPS, samples())
    assert found is not None
    assert found.classes == (ClassCost(1, lost=2, gained=1, samples=5),)
    assert (found.lost, found.gained, found.classes[0].net) == (2, 1, 1)


def test_samples_with_a_picture_come_first_and_tell_how_sure_fp32_was() -> None:
    found = flipped(FLIPS, samples(i7=PNG, i9=JPEG))
    assert found is not None
    assert [row.index for row in found.rows] == [7, 9, 3, 5]
    assert found.rows[0].confidence == pytest.approx(0.7)
    kinds = [row.picture.partition(";")[0] for row in found.rows]
    assert kinds == ["data:image/png", "data:image/jpeg", "", ""]
    assert base64.b64decode(found.rows[0].picture.partition(",")[2]) == PNG


@pytest.mark.parametrize("data", [b"", b"<svg onload=alert(1)>", b"GIF89a", PNG + bytes(40_000)])
def test_what_is_no_thumbnail_is_not_shown(data: bytes) -> None:
    found = flipped(FLIPS, samples(i3=data))
    assert found is not None
    assert not any(row.picture for row in found.rows)


def test_no_flips_make_no_section() -> None:
    assert flipped((), samples()) is None
    page = parse(render(build(parts(final=comparison(agreement=Agreement(5000, 5000))))))
    assert not page.all("section", id="flips")


def test_classes_are_called_by_name_where_one_is_given() -> None:
    found = flipped(FLIPS, None, ("top", "shoe"))
    assert found is not None
    assert [found.called(number) for number in (1, 2, -1, None)] == ["1 shoe", "2", "none (NaN)", "–"]


def test_the_page_shows_pictures_by_data_address_with_their_names() -> None:
    final = comparison(agreement=Agreement(4996, 5000, FLIPS))
    hostile = ("top", "<img src=x onerror=alert(1)>")
    page = parse(render(build(parts(final=final, samples=samples(i3=PNG), class_names=hostile))))
    (image,) = page.all("img")
    assert str(image.attributes["src"]).startswith("data:image/png;base64,")
    assert image.attributes["alt"] == "shoe.png"
    thumb = page.one("li", class_="thumb").text
    assert "1 <img src=x onerror=alert(1)>" in thumb
    assert "(30 % sure)" in thumb
    assert "lost" in thumb


def test_what_hurts_most_names_the_class_that_loses_most() -> None:
    flips = (*FLIPS, Flip(1, "hat.png", 1, 1, 0))
    hurts = build(parts(final=comparison(agreement=Agreement(4995, 5000, flips)), samples=samples())).hurts
    assert (hurts[0].kind, hurts[0].subject) == ("class", "class 1")
    assert hurts[0].text == ("loses most: 3 of its 5 samples lost, 1 gained (3 right answers lost and 1 gained in all)")


def test_class_names_come_from_the_folder_or_from_a_file_that_is_named(tmp_path: Path) -> None:
    write_comparison(tmp_path / "compare.json", comparison())
    (tmp_path / "classes.txt").write_text("top\n shoe \n", encoding="utf-8")
    (tmp_path / "other.txt").write_text("\ufeffhat\n", encoding="utf-8")
    found = read_run(tmp_path).flipped
    other = read_run(tmp_path, class_names=tmp_path / "other.txt").flipped
    assert found is not None
    assert other is not None
    assert (found.names, other.names) == (("top", "shoe"), ("hat",))
    with pytest.raises(InputError, match=r"nowhere\.txt"):
        read_run(tmp_path, class_names=tmp_path / "nowhere.txt")
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"classes\.txt"):
        read_run(tmp_path)
