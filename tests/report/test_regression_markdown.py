"""A regression in a pull request: short, and no name is more than text."""

from __future__ import annotations

from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from quantlab.report.formats import visible
from quantlab.report.regression_markdown import plain, regression_markdown, write_regression_markdown
from tests.report.regressions import DRIFT, FAIL, NASTY, OPEN, PASS, SLICE, WARN, flip, nasty, regression

_COMMENT = "<!-- -->"


def tokens(text: str) -> list[Token]:
    """Return what a reader of GitHub's tables and strikethrough makes of a text, inner tokens too."""
    found = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    return [inner for token in found for inner in (token, *(token.children or ()))]


def shown(text: str) -> str:
    """Return what a line shows, without the comments that show nothing."""
    kinds = [token for token in tokens(f"x {text} x") if token.type in ("text", "html_inline", "text_special")]
    assert {token.content for token in kinds if token.type == "html_inline"} <= {_COMMENT}
    return "".join(token.content for token in kinds if token.type != "html_inline")


def test_the_first_lines_hold_the_verdict_and_its_reason() -> None:
    lines = regression_markdown(regression(FAIL, PASS)).splitlines()
    assert lines[0] == "### ❌ INT8 regression: fail"
    assert lines[2] == "**Must not ship: top-1 fell by 2.00 points.**"
    assert lines[4] == "branch against main, 5,000 samples of both."
    assert "| top-1 | ❌ fail | 2.00 points | 1.00 … 3.00 points | 0.00 points | &lt; 0.0001 |" in lines
    assert "**Changed between the runs:** the calibration data (a → b)." in lines


def test_each_verdict_has_its_word() -> None:
    firsts = [regression_markdown(regression(*c)).splitlines()[0] for c in ((PASS,), (WARN,), (FAIL,), (OPEN,))]
    assert [line.rpartition(" ")[2] for line in firsts] == ["pass", "warning", "fail", "inconclusive"]
    assert "About 9,000 samples would decide." in regression_markdown(regression(OPEN))


def test_slices_tensors_and_samples_are_cut_to_ten() -> None:
    found = regression(
        *[replace(FAIL, name=f"c{i}", sentence=f"c{i} fell") for i in range(13)],
        slices=(*(replace(SLICE, name=f"s{i}") for i in range(12)), replace(SLICE, name="fine", state="pass")),
        drifts=(*(replace(DRIFT, tensor=f"t{i}") for i in range(12)), replace(DRIFT, tensor="still", state="pass")),
        flips=tuple(flip(i, f"f{i}") for i in range(12)),
    )
    text = regression_markdown(found)
    assert text.count("- and 2 more") == 3
    assert "| label s9 |" in text
    assert "| label s10 |" not in text
    assert "fine" not in text
    assert "still" not in text
    assert "**Samples that got worse (12):** f0, f1, f2, f3, f4, f5, f6, f7, f8, f9 …" in text


def test_every_table_has_as_many_cells_as_columns() -> None:
    for name in NASTY:
        rows = [
            token
            for token in tokens(regression_markdown(nasty(name)))
            if token.type in ("tr_open", "td_open", "th_open")
        ]
        widths, count = [], 0
        for token in rows:
            if token.type == "tr_open":
                widths.append(count)
                count = 0
            else:
                count += 1
        assert set(widths[1:]) <= {5, 6, 7}
        assert [token.type for token in tokens(regression_markdown(nasty(name)))].count("table_open") == 3


@pytest.mark.parametrize("name", NASTY)
def test_a_strangers_name_is_neither_markup_nor_html_nor_a_mention(name: str) -> None:
    text = regression_markdown(nasty(name))
    found = tokens(text)
    forbidden = {"link_open", "image", "html_block", "code_inline", "em_open", "s_open", "code_block", "fence"}
    assert not {token.type for token in found} & forbidden
    assert {token.content for token in found if token.type == "html_inline"} <= {_COMMENT}
    assert sum(token.type == "heading_open" for token in found) == 1
    for linked in ("@someone", "#12", "https://", "www.evil", "GH-3"):
        assert linked not in text
    assert "\x1b" not in text


@given(st.text(max_size=60))
def test_a_text_is_shown_as_it_is(text: str) -> None:
    assert shown(plain(text)).split() == ["x", *visible(text).split(), "x"]


@pytest.mark.parametrize("name", NASTY)
def test_html_in_a_name_is_its_letters(name: str) -> None:
    escaped = plain(name).replace(_COMMENT, "")
    assert "<" not in escaped
    assert ">" not in escaped
    assert unescape(escaped).replace("\\", "") == " ".join(visible(name).split()).replace("\\", "")


def test_a_name_without_end_is_cut() -> None:
    assert len(plain("n" * 10_000)) == 400


def test_the_file_is_written(tmp_path: Path) -> None:
    write_regression_markdown(tmp_path / "a.md", regression(FAIL))
    assert (tmp_path / "a.md").read_text(encoding="utf-8") == regression_markdown(regression(FAIL))
