"""Merging caches and giving them another header."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.caches.merge import check_one_network, merge, merged_provenance
from quantlab.caches.retarget import retargeted
from quantlab.caches.tensors import related
from quantlab.calibration.provenance import DataIdentity, Provenance
from quantlab.calibration.trt_cache import CalibrationCache
from quantlab.errors import InputError, StaleError, UsageError
from tests.caches.networks import cache

LEGACY = "0 3ff0000000000000 3fefff2e48e8a71e"
scales = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([0.25, 0.5, 1.0]))
some_caches = st.lists(scales.map(cache), min_size=1, max_size=4)


def made_for(model: str, *sets: str) -> Provenance:
    """Return a provenance with these calibration sets."""
    return Provenance(
        model, model, tuple(DataIdentity(name, name, 0) for name in sets), {"quantlab": "1"}, "log-linear"
    )


@given(some_caches)
def test_every_tensor_has_the_largest_scale_or_the_first(parts: list[CalibrationCache]) -> None:
    largest, first = merge(parts, policy="max"), merge(parts, policy="first")
    for tensor in {name for part in parts for name in part.scales}:
        given_scales = [part.scales[tensor] for part in parts if tensor in part.scales]
        assert largest.cache.scales[tensor] == max(given_scales)
        assert first.cache.scales[tensor] == given_scales[0]
        assert (tensor in {c.tensor for c in first.conflicts}) == (len(set(given_scales)) > 1)


@given(some_caches)
def test_merging_again_changes_nothing(parts: list[CalibrationCache]) -> None:
    once = merge(parts, policy="max").cache
    assert merge([once, *parts], policy="max").cache == once
    assert merge([once]).cache == once


def test_conflicts_are_refused_and_named() -> None:
    with pytest.raises(InputError, match=r"1 tensor with several scales \(«b»: 0.25, 0.5\)"):
        merge([cache({"a": 1.0, "b": 0.25}), cache({"b": 0.5})])


@given(st.sets(st.integers(0, 8)), st.sets(st.integers(0, 8)))
def test_half_of_the_smaller_sets_names_make_two_sets_related(one: set[int], other: set[int]) -> None:
    first, second = {str(i) for i in one}, {str(i) for i in other}
    smaller = min((first, second), key=len)
    assert related(first, second) == (sum(name in first and name in second for name in smaller) >= len(smaller) / 2)
    assert related(second, first) == related(first, second)
    assert related(first, first | second)


def test_the_cache_that_is_of_another_network_is_named() -> None:
    day, night = cache({"a": 1.0, "b": 1.0, "c": 1.0}), cache({"b": 2.0, "c": 1.0, "d": 1.0})
    check_one_network({"day": day, "night": night})
    with pytest.raises(InputError, match=r"^other and the caches before it share 1 of 3 and 4 tensors"):
        check_one_network({"day": day, "night": night, "other": cache({"a": 1.0, "y": 1.0, "z": 1.0})})


def test_caches_of_two_algorithms_are_refused() -> None:
    with pytest.raises(InputError, match="several algorithms"):
        merge([cache({"a": 1.0}), cache({"b": 1.0}, "TRT-8601-MinMaxCalibration")])


def test_the_merged_cache_names_every_set_that_had_a_say() -> None:
    merged = merged_provenance([made_for("m", "day"), made_for("m", "night", "day")])
    assert merged is not None
    assert [data.name for data in merged.chosen_on] == ["day", "night"]
    assert merged_provenance([made_for("m", "day"), None]) is None
    with pytest.raises(StaleError, match="several models"):
        merged_provenance([made_for("m"), made_for("n")])


@pytest.mark.parametrize(
    ("version", "algorithm", "header"),
    [
        ("10.3.0", None, "TRT-100300-EntropyCalibration2"),
        (None, "MinMaxCalibration", "TRT-8601-MinMaxCalibration"),
        ("8.5.2", "EntropyCalibration", "TRT-8502-EntropyCalibration"),
        (None, "LegacyCalibration", LEGACY),
    ],
)
def test_only_the_header_changes(version: str | None, algorithm: str | None, header: str) -> None:
    before = cache({"a": 0.1, "b": 0.2})
    after = retargeted(before, version=version, algorithm=algorithm)
    assert after.header == header
    assert after.scales == before.scales


@pytest.mark.parametrize("version", ["11.0.0", "11.4", "12.0"])
def test_tensorrt_11_is_refused_with_the_way_to_go(version: str) -> None:
    with pytest.raises(UsageError, match="quantlab cache convert"):
        retargeted(cache({"a": 0.1}), version=version)


def test_a_header_without_a_version_needs_one() -> None:
    assert retargeted(cache({"a": 0.1}, LEGACY), version="10.0.1").header == LEGACY
    with pytest.raises(UsageError, match="give one, as in --tensorrt"):
        retargeted(cache({"a": 0.1}, LEGACY), algorithm="EntropyCalibration2")
