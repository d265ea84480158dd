"""A policy holds only what can mean something."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from quantlab.errors import UsageError
from quantlab.regression.policy import DropLimit, Limit, Policy, SliceLimit


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: DropLimit(-1.0), "maximum drop is a number of at least 0"),
        (lambda: DropLimit(float("nan")), "maximum drop is a number"),
        (lambda: DropLimit(0.0, 0.0), "No samples can show a loss of exactly 0"),
        (lambda: DropLimit(level="stop"), "level is warn or fail, not «stop»"),  # type: ignore[arg-type]
        (lambda: Limit(float("inf")), "A limit is a number"),
        (lambda: SliceLimit("light"), "name no sample"),
        (lambda: SliceLimit("label", {"a": "b"}), "are the labels"),
        (lambda: SliceLimit(least=0), "at least 1 sample"),
        (lambda: SliceLimit(maximum=-1.0), "slice's maximum drop"),
        (lambda: SliceLimit(resolution=-1.0), "slice's resolution"),
        (lambda: SliceLimit("", {"a": "b"}), "A slicing has a name"),
        (lambda: Policy(alpha=0.0), "alpha lies between 0 and 1"),
        (lambda: Policy(alpha=0.6), "a coin decides as well"),
        (lambda: Policy(power=0.3), "a coin decides as well"),
        (lambda: Policy(coverage=Limit(95.0)), "coverage is a share"),
        (lambda: Policy(scale=Limit(0.5)), "ratio of at least 1"),
        (lambda: Policy(drift="never"), "level is warn or fail"),  # type: ignore[arg-type]
        (lambda: Policy(slices=(SliceLimit(), SliceLimit(maximum=1.0))), "names each slicing once"),
    ],
)
def test_what_cannot_mean_anything_is_refused(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


def test_two_policies_of_the_same_limits_are_equal() -> None:
    assert Policy(metrics={"top-1": DropLimit(1.0)}) == Policy(metrics={"top-1": DropLimit(1.0)})
    assert hash(Policy()) == hash(Policy())
