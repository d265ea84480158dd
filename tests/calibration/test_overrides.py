"""Overrides: the first that matches wins, in rules for `calibrate` and in a table alike."""

from __future__ import annotations

import numpy as np
import pytest

import quantlab as ql
from quantlab.errors import InputError
from tests.numerics.tensors import activation

SEEN = {name: ql.Histogram.of(activation("gauss") * (i + 1)) for i, name in enumerate(("a", "ab", "c"))}
BOTH = ql.Overrides((ql.Override("ab", ql.Range(-1, 1)), ql.Override("a*", ql.Range(-2, 2), "why")))


def test_the_first_that_matches_wins_in_rules_and_in_a_table() -> None:
    by_rules = ql.calibrate(SEEN, rules=BOTH.rules(SEEN))
    in_table = BOTH.applied(ql.calibrate(SEEN))
    for table in (by_rules, in_table):
        assert [row.chosen for row in table.rows[:2]] == [ql.Range(-2, 2), ql.Range(-1, 1)]
        assert table["c"] == ql.calibrate(SEEN)["c"]
    assert [row.scale for row in by_rules.rows] == [row.scale for row in in_table.rows]
    assert (in_table["a"].method, in_table["ab"].method) == ("why", "set by hand")
    assert (BOTH.of("ab"), BOTH.of("c")) == (BOTH.entries[0], None)


def test_one_more_replaces_that_of_its_pattern_in_its_place() -> None:
    more = BOTH.having(ql.Override("ab", ql.Range(0, 3))).having(ql.Override("c", ql.Range(0, 1)))
    assert [(entry.pattern, entry.range.high) for entry in more.entries] == [("ab", 3), ("a*", 2), ("c", 1)]
    assert more.without("c").without("ab").without("x").entries == BOTH.entries[1:]


def test_the_frame_has_a_line_an_override() -> None:
    frame = BOTH.frame()
    assert list(frame["tensor"]) == ["ab", "a*"]
    np.testing.assert_array_equal(frame[["low", "high"]], [[-1, 1], [-2, 2]])
    assert list(ql.Overrides().frame().columns) == ["tensor", "low", "high", "reason"]


def test_what_matches_nothing_or_comes_twice_is_refused() -> None:
    wrong = ql.Overrides((ql.Override("z*", ql.Range(0, 1)),))
    with pytest.raises(InputError, match=r"«z\*» matches none of the 3 tensors"):
        wrong.rules(SEEN)
    with pytest.raises(InputError, match=r"matches «z\*»"):
        wrong.applied(ql.calibrate(SEEN))
    with pytest.raises(InputError, match="«ab» is overridden twice"):
        ql.Overrides((BOTH.entries[0], BOTH.entries[0]))
    with pytest.raises(InputError, match="needs the name"):
        ql.Override("", ql.Range(0, 1))
