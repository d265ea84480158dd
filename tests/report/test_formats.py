"""Numbers and names as people read them."""

from __future__ import annotations

import html
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.calibration.ranges import Range
from quantlab.report import formats


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.0, "0.00 %"),
        (1.0, "100.00 %"),
        (1e-6, "< 0.01 %"),
        (0.999999, "> 99.99 %"),
        (0.5, "50.00 %"),
    ],
)
def test_a_share_never_reads_as_all_or_nothing_unless_it_is(value: float | None, text: str) -> None:
    assert formats.share(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (float("inf"), "∞"), (float("-inf"), "−∞"), (float("nan"), "–"), (-3.14, "−3.1")]
)
def test_decibels_have_one_digit_and_an_infinity(value: float | None, text: str) -> None:
    assert formats.decibel(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.125, "0.12"), (-0.001, "0.00"), (-0.5, "−0.50"), (None, "–")])
def test_points_have_two_digits_and_no_negative_zero(value: float | None, text: str) -> None:
    assert formats.points(value) == text


def test_sizes_durations_ranges_and_shapes_read_well() -> None:
    assert [formats.size(n) for n in (None, 12, 1234, 492060, 12_345_678)] == [
        "–",
        "12 B",
        "1.23 kB",
        "492.1 kB",
        "12.3 MB",
    ]
    assert [formats.milliseconds(v) for v in (None, 4.2163, 1234.5)] == ["–", "4.22 ms", "1,234 ms"]
    assert [formats.span(v) for v in (None, Range(-1.5, 6.0))] == ["–", "−1.5 … 6"]
    assert [formats.dimensions(v) for v in (None, (), ("N", 3, None))] == ["–", "scalar", "N×3×?"]
    assert formats.listed(["a", "b", "c"], 2) == "a, b and 1 more"
    assert formats.sortable(float("nan")) == formats.sortable(None) == ""


@given(st.text())
def test_a_stranger_s_text_becomes_one_that_utf8_and_a_reader_can_take(text: str) -> None:
    shown = formats.visible(text)
    shown.encode()
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t"]


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S"])))
def test_an_ordinary_name_is_shown_as_it_is(text: str) -> None:
    assert formats.visible(text) == text
    assert html.unescape(str(formats.breakable(text)).replace("<wbr>", "")) == text
