"""Numbers of a verdict as people say them."""

import pytest

from quantlab.comparison.statistics import Interval
from quantlab.regression.words import rounded, spread


@pytest.mark.parametrize(
    ("count", "text"), [(1, "1"), (99, "99"), (245, "250"), (250, "250"), (3635, "3,700"), (9_999_999, "10,000,000")]
)
def test_a_number_of_samples_to_ask_for_is_never_rounded_down(count: int, text: str) -> None:
    assert rounded(count) == text


def test_an_interval_says_its_level() -> None:
    assert spread(Interval(-0.2, 0.41, 0.9), "points") == "90 % interval −0.20 … 0.41"
    assert spread(Interval(-0.001, 0.25, 0.95), "") == "95 % interval −0.001 … 0.25"
