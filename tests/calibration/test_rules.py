"""Rules: which tensors they are for; and ranges set by hand."""

import pytest

from quantlab.calibration.ranges import Range
from quantlab.calibration.rules import Fixed, Rule
from quantlab.errors import QuantlabError, UsageError


@pytest.mark.parametrize(
    ("pattern", "tensor", "matches"),
    [
        ("conv1", "conv1", True),
        ("conv1", "conv10", False),
        ("conv*", "conv10", True),
        ("CONV*", "conv10", False),
        ("/blocks.?/Conv_output_0", "/blocks.3/Conv_output_0", True),
        ("(Unnamed Layer* 405) [Constant]_output", "(Unnamed Layer* 405) [Constant]_output", True),
        ("a[b]", "a[b]", True),
        ("a[b]", "ab", True),
        ("*", "", True),
    ],
)
def test_a_rule_matches_by_name_or_shell_pattern(pattern: str, tensor: str, matches: bool) -> None:
    assert Rule(pattern).matches(tensor) == matches


def test_a_fixed_range_is_what_was_set_whatever_was_seen() -> None:
    assert Fixed(-1.0, 6.0)(object()) == Range(-1.0, 6.0)
    assert repr(Fixed(-1.0, 6.0)) == "Fixed(low=-1.0, high=6.0)"


@pytest.mark.parametrize("bounds", [(1.0, -1.0), (float("nan"), 1.0), (1.0, float("nan"))])
def test_a_fixed_range_with_its_bounds_swapped_is_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="lower bound first"):
        Fixed(*bounds)


@pytest.mark.parametrize("bounds", [(0.0, float("inf")), (float("-inf"), 0.0)])
def test_an_infinite_range_is_refused_when_it_is_set(bounds: tuple[float, float]) -> None:
    with pytest.raises(QuantlabError):
        Fixed(*bounds)
