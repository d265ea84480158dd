"""The page on a regression: the verdict first, what it shows, and strangers' names as text."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quantlab.comparison.sample_table import SampleTable
from quantlab.regression.regression import Regression
from quantlab.report.regression_data import MOST_BARE, MOST_SLICES, MOST_TENSORS
from quantlab.report.regression_history import history_page
from quantlab.report.regression_page import regression_page, write_regression_page
from quantlab.storage.run_record import History, RunRecord
from tests.report.html_tree import Element, parse
from tests.report.regressions import (
    DRIFT,
    FAIL,
    NASTY,
    OPEN,
    PASS,
    SLICE,
    WARN,
    flip,
    nasty,
    picture,
    regression,
    run,
)

FOUND = regression(FAIL, WARN, PASS, slices=(SLICE,), drifts=(DRIFT,), flips=(flip(4), flip(3, "bag.png")))


def page(found: Regression = FOUND, **known: object) -> Element:
    return parse(regression_page(found, run(), run("branch", **known)))


@pytest.mark.parametrize(
    ("checks", "word"),
    [((PASS,), "Pass"), ((WARN, PASS), "Warning"), ((FAIL, PASS), "Fail"), ((OPEN,), "Inconclusive")],
)
def test_the_first_thing_said_is_the_verdict(checks: tuple[object, ...], word: str) -> None:
    found = regression(*checks)  # type: ignore[arg-type]
    tree = page(found)
    first = tree.one("main").all("section")[0]
    assert first.attributes["id"] == "verdict"
    assert first.attributes["class"] == f"verdict {found.verdict}"
    assert first.one("h2").text == word
    assert first.one("p", class_="headline").text == found.sentence
    assert tree.one("title").text == f"{found.headline}: branch against main"


def test_an_inconclusive_verdict_says_how_many_samples_would_decide() -> None:
    assert "About 9,000 samples would decide; these runs share 5,000." in page(regression(OPEN)).one("main").text
    assert "would decide" not in page(regression(FAIL)).one("main").text
    told = replace(OPEN, sentence="top-1 may have fallen; about 9,000 would decide.")
    assert page(regression(told)).one("main").text.count("would decide") == 2  # the verdict, and the check's line


def test_the_verdict_lists_what_else_did_not_pass() -> None:
    also = page(regression(OPEN, WARN, PASS)).one("section", id="verdict").one("ul", class_="also")
    assert also.text.split() == ["Warning", *WARN.sentence.split()]
    many = [replace(WARN, name=str(i), sentence=f"Check {i}.") for i in range(6)]
    rows = page(regression(FAIL, *many)).one("section", id="verdict").one("ul", class_="also").all("li")
    assert [row.text for row in rows][-1] == "2 more"
    assert len(rows) == 5
    assert not page(regression(FAIL, PASS)).all("ul", class_="also")


def test_the_checks_are_a_table_with_units_and_words() -> None:
    table = page().one("section", id="checks").one("table")
    assert table.rows()[0] == [
        "top-1",
        "Fail",
        "2.00 points",
        "1.00 … 3.00 points",
        "0.00 points",
        "< 0.0001",
        FAIL.sentence,
    ]
    assert table.rows()[1][2:6] == ["4 dB", "–", "3 dB", "–"]


def test_what_changed_slices_and_scales_are_listed() -> None:
    tree = page()
    assert tree.one("ul", class_="changed").text.strip() == "the calibration data (a → b)"
    cells = ["7", "label", "Fail", "200", "top-1", "90.00 %", "80.00 %", "10.00", "5.00 … 15.00", "22", "2", "0.001"]
    assert tree.one("section", id="slices").one("table").rows() == [cells]
    moved = ["/stem/Conv_output_0", "activation", "Fail", "0.02", "0.08", "×4", "0.3"]
    assert tree.one("section", id="scales").one("table").rows() == [moved]
    assert "Nothing that is known of changed" in page(regression(PASS, differences=())).one("main").text


def test_samples_that_got_worse_come_with_their_picture_first() -> None:
    cards = page().one("section", id="worse").all("li")
    assert [card.one("h3").text for card in cards] == ["bag.png", "shoe.png"]
    image = cards[0].one("img")
    assert image.attributes["alt"] == "The sample bag.png"
    assert image.attributes["src"] == f"data:image/png;base64,{base64.b64encode(picture()).decode()}"
    assert not cards[1].all("img")
    assert "Label 3: 3 before, 5 now" in cards[0].text


def test_a_picture_of_the_baselines_stands_in_by_the_samples_key() -> None:
    table = SampleTable(np.ones(2), np.ones(2), keys=("a" * 16, f"{9:016x}"), pictures={1: picture()})
    tree = parse(regression_page(regression(FAIL, flips=(flip(9),)), run(samples=table), run("branch", samples=None)))
    assert len(tree.one("section", id="worse").all("img")) == 1


def test_samples_that_got_better_are_counted_but_not_shown() -> None:
    tree = page(regression(PASS, flips=(flip(3, effect="better"), flip(4, effect="other"))))
    assert not tree.all("section", id="worse")
    assert "0 worse, 1 better, 1 neither" in tree.one("dl", class_="tiles").text


def test_bytes_that_are_no_picture_are_not_shown() -> None:
    table = run().samples
    assert table is not None
    tree = page(samples=replace(table, pictures={3: b"<svg onload=alert(1)>", 4: picture("JPEG")}))
    assert [image.attributes["src"][:22] for image in tree.all("img")] == ["data:image/jpeg;base64"]  # type: ignore[index]


def test_the_provenance_shades_what_differs() -> None:
    tree = page(method="minmax", versions={"quantlab": "0.2.0", "gpu": "T4"})
    rows = {row.one("th").text: row for row in tree.one("table", class_="provenance").one("tbody").all("tr")}
    differs = {name for name, row in rows.items() if row.attributes.get("class") == "differs"}
    assert differs == {"Run", "Method", "quantlab", "gpu"}
    assert [cell.text for cell in rows["gpu"].all("td")] == ["–", "T4"]


def test_long_tables_are_cut_and_say_so_what_failed_first() -> None:
    slices = tuple(replace(SLICE, name=str(i), state="fail" if i == 149 else "pass") for i in range(150))
    drifts = tuple(replace(DRIFT, tensor=str(i), state="fail" if i == 149 else "pass") for i in range(150))
    tree = page(regression(FAIL, slices=slices, drifts=drifts, flips=tuple(flip(i) for i in range(150))))
    for place, most, first in (("slices", MOST_SLICES, "149"), ("scales", MOST_TENSORS, "149")):
        rows = tree.one("section", id=place).one("table").rows()
        assert (len(rows), rows[0][0]) == (most, first)
    assert len(tree.one("section", id="worse").all("li")) == MOST_BARE
    assert "150 samples" in tree.one("section", id="worse").text
    assert "12 are shown" in tree.one("section", id="worse").text


@pytest.mark.parametrize("name", NASTY)
def test_a_strangers_name_is_text_wherever_it_stands(name: str) -> None:
    text = regression_page(nasty(name), run(name), run(name, target=name, method=name, versions={name: name}))
    tree = parse(text)
    assert not tree.all("script")
    assert [image.attributes["src"][:10] for image in tree.all("img")] == ["data:image"]  # type: ignore[index]
    assert {key for element in tree.all("*") for key in element.attributes if key.startswith("on")} == set()
    assert "\x1b" not in text
    assert "\x00" not in text
    assert "\u202e" not in text


def test_the_page_takes_nothing_from_anywhere() -> None:
    tree = page()
    policy = tree.one("meta", http_equiv="Content-Security-Policy").attributes["content"] or ""
    digests = [hashlib.sha256(style.text.encode()).digest() for style in tree.all("style")]
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    assert policy == f"default-src 'none'; img-src data:; style-src {hashes}; base-uri 'none'; form-action 'none'"
    addresses = {element.attributes.get(key) for element in tree.all("*") for key in ("src", "href")} - {None}
    assert all(str(address).startswith(("#", "data:image/")) for address in addresses)
    assert not [element for element in tree.all("*") if "style" in element.attributes]


@pytest.mark.parametrize("whose", ["baseline", "candidate"])
def test_classes_have_the_names_that_a_run_knows(whose: str) -> None:
    names = tuple(f"kind<{i}>" for i in range(6))
    runs = [run(class_names=names if role == whose else ()) for role in ("baseline", "candidate")]
    slices = (replace(SLICE, name="5"), SLICE, replace(SLICE, by="kind", name="5"))
    found = regression(FAIL, slices=slices, flips=(flip(4),))
    tree = parse(regression_page(found, *runs))
    assert "Label 3 kind<3>: 3 kind<3> before, 5 kind<5> now" in tree.one("section", id="worse").text
    rows = tree.one("section", id="slices").one("table").rows()
    assert [row[0] for row in rows] == ["5 kind<5>", "7", "5"]


def test_every_link_of_the_navigation_leads_somewhere_and_tables_have_names() -> None:
    for found in (FOUND, regression(PASS)):
        tree = page(found)
        places = {element.attributes.get("id") for element in tree.all("*")}
        assert {str(link.attributes["href"])[1:] for link in tree.all("a")} <= places
        for table in tree.all("div", role="region"):
            assert table.attributes["aria-label"]
            assert table.attributes["tabindex"] == "0"


def test_equal_runs_make_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_regression_page(tmp_path / name, FOUND, run(), run("branch"))
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_the_page_of_a_history_lists_the_last_run_first_and_escapes_names() -> None:
    records = tuple(
        RunRecord(name, "2026-01-31T12:00", f"d{i}", 9, number=i + 1, label=name) for i, name in enumerate(NASTY)
    )
    tree = parse(history_page(History(Path("h"), records), b"<?xml version='1.0'?><svg/>"))
    assert [row[0] for row in tree.one("table").rows()] == [str(i) for i in range(len(NASTY), 0, -1)]
    assert tree.one("img").attributes["src"] == "data:image/svg+xml;base64,PD94bWwgdmVyc2lvbj0nMS4wJz8+PHN2Zy8+"
    assert not tree.all("script")
