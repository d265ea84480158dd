"""Identities of data and provenance: what they share, and how they are written and read."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.calibration.provenance import SKETCH, DataIdentity, Provenance
from quantlab.errors import InputError

hashes = st.sets(st.integers(0, 2**64 - 1), max_size=60)


def identity(samples: set[int], name: str = "calibration") -> DataIdentity:
    ordered = sorted(samples)
    sketch = tuple(f"{value:016x}" for value in ordered[:SKETCH])
    return DataIdentity(name, f"blake2b:{hash(tuple(ordered)):x}", len(samples), {}, sketch=sketch)


def spread(start: int, stop: int) -> set[int]:
    """Hashes of samples start … stop−1: spread evenly over 64 bits by an odd multiplier."""
    return {value * 0x9E3779B97F4A7C15 % 2**64 for value in range(start, stop)}


PROVENANCE = Provenance(
    model="sha256:00ff",
    model_name="net.onnx",
    chosen_on=(
        replace(identity({1, 2}), preprocess={"mean": [0.5, 0.25]}),
        replace(identity({3}), random=True),
    ),
    versions={"quantlab": "0.1.0", "onnxruntime": "1.31.1"},
    grid="log-linear",
)


@given(hashes, hashes)
def test_overlap_of_small_sets_is_the_exact_share_of_the_smaller_one(a: set[int], b: set[int]) -> None:
    smaller = min(len(a), len(b))
    expected = 1.0 if a == b else len(a & b) / smaller if smaller else 0.0
    assert identity(a).overlap(identity(b)) == expected


@given(hashes, hashes)
def test_overlap_is_symmetric(a: set[int], b: set[int]) -> None:
    assert identity(a).overlap(identity(b)) == identity(b).overlap(identity(a))


@pytest.mark.parametrize(("shift", "share"), [(0, 1.0), (5000, 0.75), (10_000, 0.5), (20_000, 0.0)])
def test_overlap_of_large_sets_is_estimated(shift: int, share: float) -> None:
    ours, theirs = identity(spread(0, 20_000)), identity(spread(shift, shift + 20_000))
    assert ours.overlap(theirs) == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("large", [5000, 50_000])
def test_a_subset_of_a_larger_set_overlaps_fully(large: int) -> None:
    assert identity(spread(0, 1000)).overlap(identity(spread(0, large))) == 1.0


@pytest.mark.parametrize("start", range(0, 2000, 125))
def test_every_small_subset_of_thousands_is_seen(start: int) -> None:
    whole = identity(spread(0, 2000))
    assert identity(spread(start, start + 4)).overlap(whole) == 1.0
    assert identity(spread(start, start + 1) | spread(5000, 6999)).overlap(whole) == 1 / 2000


def test_a_full_sketch_of_exactly_16384_samples_is_exact() -> None:
    assert identity(spread(0, SKETCH)).overlap(identity(spread(SKETCH - 1, SKETCH + 4))) == 0.2


def test_a_sketch_of_256_from_an_older_artefact_is_read_as_the_estimate_it_was() -> None:
    whole, other = identity(spread(0, 2000)), identity(spread(1000, 3000))
    former = replace(whole, sketch=whole.sketch[:256])
    assert former.overlap(replace(other, sketch=other.sketch[:256])) == pytest.approx(0.5, abs=0.12)
    assert DataIdentity.from_json(former.to_json() | {"sketch": list(former.sketch)}) == former


def test_a_thousand_samples_take_sixteen_kilobytes() -> None:
    assert len(json.dumps(identity(spread(0, 1000)).to_json())) < 16_300


def test_the_sketch_is_left_out_of_the_repr() -> None:
    assert len(repr(identity(spread(0, 1000)))) < 200


def test_equal_digests_overlap_even_without_a_sketch() -> None:
    bare = DataIdentity("calibration", "blake2b:1", 10, {})
    assert bare.overlap(bare) == 1.0


def test_overlap_without_a_sketch_is_refused() -> None:
    with pytest.raises(InputError, match="«bare» were recorded without a sketch"):
        DataIdentity("bare", "blake2b:1", 10, {}).overlap(identity({1}))


def test_preprocess_digest_ignores_the_order_of_keys_and_nothing_else() -> None:
    one, two, other = ({"a": 1, "b": [2.0]}, {"b": [2.0], "a": 1}, {"a": 1, "b": [2.5]})
    first, second, third = (replace(identity({1}), preprocess=value).preprocess_digest for value in (one, two, other))
    assert first == second != third


def test_an_identity_is_hashable() -> None:
    assert len({PROVENANCE, PROVENANCE, replace(PROVENANCE, grid="x")}) == 2


@pytest.mark.parametrize("data", PROVENANCE.chosen_on)
def test_an_identity_survives_json(data: DataIdentity) -> None:
    assert DataIdentity.from_json(data.to_json()) == data
    assert DataIdentity.from_json(json.dumps(data.to_json())) == data


def test_a_provenance_survives_json() -> None:
    assert Provenance.from_json(PROVENANCE.to_json()) == PROVENANCE
    assert Provenance.from_json(json.dumps(PROVENANCE.to_json())) == PROVENANCE


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": 3}, "«name» must be text, not 3"),
        ({"count": True}, "«count» must be a JSON integer, not True"),
        ({"count": -1}, "cannot have -1 samples"),
        ({"random": 1}, "«random» must be a JSON true or false, not 1"),
        ({"preprocess": []}, "«preprocess» must be a JSON object"),
        ({"preprocess": {"std": float("nan")}}, "preprocessing of the data «calibration» is not JSON"),
        ({"sketch": 3}, "«sketch» must be text or a JSON array, not 3"),
        ({"sketch": "0" * 17}, "hashes of 16 hex digits .'0'."),
        ({"sketch": "f" * 16 + "0" * 16}, "rising list"),
        ({"sketch": [7]}, "«sketch» must be text, not 7"),
        ({"sketch": ["xyz"]}, "hashes of 16 hex digits .'xyz'."),
        ({"sketch": ["f" * 16, "0" * 16]}, "rising list"),
        ({"extra": 1}, "unknown fields extra"),
    ],
)
def test_a_damaged_identity_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        DataIdentity.from_json(identity({1}).to_json() | change)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InputError, match="A data identity has no digest; its fields are name, digest"):
        DataIdentity.from_json({key: value for key, value in identity({1}).to_json().items() if key != "digest"})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"grid": None}, "«grid» must be text"),
        ({"versions": {"quantlab": 1}}, "«versions» must be text, not 1"),
        ({"chosen_on": [3]}, "A data identity must be a JSON object, not int"),
        ({"chosen_on": {}}, "«chosen_on» must be a JSON array"),
    ],
)
def test_a_damaged_provenance_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Provenance.from_json(PROVENANCE.to_json() | change)


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000], ids=["cut", "empty", "deep"])
def test_text_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="A provenance is not JSON"):
        Provenance.from_json(text)


def test_json_of_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match="A provenance must be a JSON object, not list"):
        Provenance.from_json("[]")
