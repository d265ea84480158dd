"""Options that cannot mean anything are refused when they are made."""

import pytest

from quantlab.engines.tensorrt.build_options import (
    BuildOptions,
    NativeCalibration,
    Profile,
    batches_of,
    default_profiles,
)
from quantlab.errors import UsageError


def test_a_profile_takes_what_lies_between_its_ends() -> None:
    profile = Profile({"x": ((1, 3), (8, 3), (32, 3))})
    assert profile.takes({"x": (5, 3)})
    assert not profile.takes({"x": (33, 3)})
    assert not profile.takes({"x": (5, 4)})
    assert not profile.takes({"x": (5, 3, 1)})
    assert profile.best_for({"x": (8, 3)})
    assert not profile.best_for({"x": (5, 3)})


def test_batches_lie_between_the_profiles_ends() -> None:
    both = Profile({"x": ((3, 4), (8, 4), (16, 4)), "y": ((2, 1), (8, 1), (16, 1)), "scalar": ((), (), ())})
    assert batches_of([both]) == (3, 16)
    assert batches_of([both, Profile.only({"x": (32, 4)})]) == (3, 32)
    assert batches_of([both, Profile.only({"x": (1, 4)})]) == (1, 16)
    assert batches_of([]) == batches_of([Profile({})]) == (1, 1)


def test_a_profile_of_one_shape_takes_only_that() -> None:
    profile = Profile.only({"x": (8, 3)})
    assert profile.takes({"x": (8, 3)})
    assert not profile.takes({"x": (7, 3)})


@pytest.mark.parametrize(
    "shapes",
    [((2,), (1,), (3,)), ((1,), (3,), (2,)), ((1,), (1, 1), (1,)), ((-1,), (1,), (1,)), ((1,), (1,), (2**31,))],
)
def test_a_profile_that_does_not_rise_is_refused(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(UsageError, match="have one rank and rise in every dimension"):
        Profile({"x": shapes})  # type: ignore[dict-item]


def test_what_a_profile_does_not_name_is_no_matter_to_it() -> None:
    profile = Profile.only({"x": (8, 3)})
    assert profile.takes({"x": (8, 3), "mask": (5,)})
    assert profile.best_for({"x": (8, 3), "mask": (5,)})


def test_a_free_batch_of_every_input_runs_from_1_to_32() -> None:
    (profile,) = default_profiles({"x": (-1, 3), "ids": (-1,)})
    assert profile.shapes == {"x": ((1, 3), (32, 3), (32, 3)), "ids": ((1,), (32,), (32,))}
    assert default_profiles({}) == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"precision": ("int9",)}, "«int9» is none of them"),
        ({"layers": {"conv*": "int4"}}, "not «int4»"),
        ({"level": 6}, "lies in 0 … 5, not 6"),
        ({"workspace": -1}, r"a number of bytes below 2\*\*63, not -1"),
        ({"workspace": 2**63}, "not 9223372036854775808"),
        ({"gpu_fallback": True}, "name the core too"),
    ],
)
def test_options_without_meaning_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BuildOptions(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [{"algorithm": "kl"}, {"batch": 0}])
def test_a_calibration_without_meaning_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        NativeCalibration(batches=[], **given)  # type: ignore[arg-type]
