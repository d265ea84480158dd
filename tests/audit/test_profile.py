from __future__ import annotations

import pytest

from quantlab.audit.profile import parse_profile, profile_number, times_of
from quantlab.errors import InputError


def test_quantlabs_and_trtexecs_profiles_are_read() -> None:
    assert parse_profile('{"a": 0.5, "b": 1}') == {"a": 0.5, "b": 1.0}
    listed = '[{"count": 10}, {"name": "a", "timeMs": 5, "averageMs": 0.6, "medianMs": 0.5, "percentage": 9}]'
    assert parse_profile(listed) == {"a": 0.5}


def test_a_layer_listed_twice_has_the_sum() -> None:
    assert parse_profile('[{"name": "a", "averageMs": 0.5}, {"name": "a", "averageMs": 0.25}]') == {"a": 0.75}


@pytest.mark.parametrize(
    "text",
    ["", "3", "{}", "[]", "[" * 100_000, '{"a": "fast"}', '{"a": -1}', '{"a": NaN}', '{"a": true}', '[{"name": 1}]'],
)
def test_what_is_no_profile_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="profile"):
        parse_profile(text)


def test_times_tell_whose_optimization_profile_they_are() -> None:
    times = {"a [profile 2]": 1.0, "b [profile 2]": 2.0, "c": 3.0}
    assert profile_number(times) == 2
    assert profile_number({"a": 1.0}) == 0
    assert profile_number({}) is None
    every = {"a": 1.0, "b": 1.0} | {f"{name} [profile 1]": 1.0 for name in "abc"}
    assert profile_number(every) == 0
    assert times_of(times, 2) == {"a": 1.0, "b": 2.0, "c [profile 0]": 3.0}
