from __future__ import annotations

import pytest

from quantlab.audit.profile import parse_profile
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
