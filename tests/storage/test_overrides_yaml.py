"""Overrides as text and files: what is written is read back, and what is none is refused where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import quantlab as ql
from quantlab.errors import InputError, UsageError
from quantlab.storage.overrides_yaml import (
    change_overrides,
    parse_overrides,
    read_overrides,
    render_overrides,
    write_overrides,
)

_NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
_RANGES = st.tuples(_NUMBERS, _NUMBERS).map(lambda pair: ql.Range(min(pair), max(pair)))
_TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
_ENTRIES = st.builds(ql.Override, _TEXTS, _RANGES, _TEXTS)
OVERRIDES = st.lists(_ENTRIES, max_size=5, unique_by=lambda entry: entry.pattern).map(
    lambda found: ql.Overrides(tuple(found))
)
ONE = ql.Overrides((ql.Override("/a/[0]", ql.Range(-6.0, 0.1), "seen to be noise: 1"),))


@given(OVERRIDES)
def test_what_is_rendered_is_parsed_back(found: ql.Overrides) -> None:
    assert parse_overrides(render_overrides(found)) == found


def test_the_text_says_how_it_is_used() -> None:
    assert "quantlab calibrate HISTOGRAMS.h5 --overrides" in render_overrides(ONE)


def test_a_file_is_saved_loaded_and_changed(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "o.yaml"
    assert change_overrides(file, lambda none: none) == ql.Overrides()
    ql.save(ONE, file)
    assert ql.load(file) == ONE == read_overrides(file)
    more = change_overrides(file, lambda known: known.having(ql.Override("b", ql.Range(0, 1))))
    assert [entry.pattern for entry in more.entries] == ["/a/[0]", "b"]
    assert read_overrides(file) == more
    assert [path.name for path in file.parent.iterdir()] == ["o.yaml"]
    with pytest.raises(UsageError, match=r"Overrides are saved as \.yaml or \.yml, not as «\.json»"):
        ql.save(ONE, tmp_path / "o.json")


def test_a_change_that_fails_leaves_the_file(tmp_path: Path) -> None:
    write_overrides(tmp_path / "o.yaml", ONE)
    before = (tmp_path / "o.yaml").read_bytes()

    def fails(_known: ql.Overrides) -> ql.Overrides:
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        change_overrides(tmp_path / "o.yaml", fails)
    assert (tmp_path / "o.yaml").read_bytes() == before


def test_no_entries_are_no_overrides() -> None:
    assert parse_overrides("overrides:\n") == ql.Overrides()
    assert parse_overrides("overrides: {a: {low: 0, high: 1}}").entries[0].reason == "set by hand"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no overrides: it looks like"),
        ("[]", "holds no overrides"),
        ("overrides: {}\nrules: {}", "holds no overrides"),
        ("overrides: [a]", "is a mapping"),
        ("overrides: {1: {low: 0, high: 1}}", "override of «1»: a tensor's name is text"),
        ("overrides: {'': {low: 0, high: 1}}", "needs the name of a tensor"),
        ("overrides: {a: 6}", "override of «a»: `low` and `high` are needed"),
        ("overrides: {a: {low: 0}}", "`low` and `high` are needed"),
        ("overrides: {a: {low: 0, high: 1, method: minmax}}", "nothing else"),
        ("overrides: {a: {low: 0, high: six}}", "`high` is a finite number, not 'six'"),
        ("overrides: {a: {low: 0, high: .inf}}", "`high` is a finite number, not inf"),
        ("overrides: {a: {low: true, high: 1}}", "`low` is a finite number, not True"),
        ("overrides: {a: {low: 2, high: 1}}", "`low` is 2.0 and `high` is 1.0"),
        ("overrides: {a: {low: 0, high: 1, reason: 3}}", "the reason is text, not 3"),
        ("overrides: {a: {low: 0, high: 1}, a: {low: 0, high: 2}}", "the key «a» occurs twice"),
        ("overrides: {a: &x {low: 0, high: 1}, b: *x}", "aliases are not read"),
        ("overrides: !!python/object:os.system {}", "no readable YAML"),
    ],
)
def test_what_is_no_override_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_overrides(text, "o.yaml")
    assert words in str(refused.value)
