"""A comparison as JSON, as frames and in a notebook."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.comparison.comparison import CompareOptions, Comparison, Sizes, compare
from quantlab.comparison.latency import measure_latency
from quantlab.comparison.tensors import TensorProbe
from quantlab.errors import InputError
from quantlab.metrics.top_k import TopK
from tests.comparison.networks import Network, Samples, samples

BOTH = ("hidden", "logits")


def full() -> Comparison:
    """Return a comparison in which every field is filled."""
    data = samples(20)
    fp32, int8 = Network(), Network(0.5)
    probe = TensorProbe(Network(0.0, BOTH), Network(0.5, BOTH), table=ScaleTable((Scale("hidden", (0.0625,)),)))
    found = compare(fp32, int8, data, chosen_on=[samples(seed=2).identity], options=CompareOptions(probe=probe))
    latency = measure_latency(fp32, int8, {"x": data.x}, rounds=2, warm_up=0)
    return replace(found, latency=latency, sizes=Sizes(4000, 1000))


FULL = full()
BARE = compare(Network(), Network(), Samples(samples(3).x, names=False), metrics=())


@pytest.mark.parametrize("value", [FULL, BARE], ids=["full", "bare"])
def test_a_comparison_survives_json(value: Comparison) -> None:
    assert Comparison.from_json(value.to_json()) == value
    assert Comparison.from_json(json.dumps(value.to_json(), allow_nan=False)) == value


def test_the_sets_are_written_as_provenances_write_them() -> None:
    fields = FULL.to_json()
    assert fields["data"] == FULL.data.to_json()
    assert fields["chosen_on"] == [used.to_json() for used in FULL.chosen_on]


def test_sets_written_as_lists_of_hashes_are_read() -> None:
    fields = FULL.to_json()
    fields["data"] |= {"sketch": list(FULL.data.sketch)}
    assert Comparison.from_json(fields) == FULL


def test_a_final_score_without_known_sets_is_read_as_not_final() -> None:
    assert FULL.final
    assert not Comparison.from_json(changed("chosen_on", [])).final


def changed(place: str, value: object) -> dict[str, Any]:
    """Return FULL's JSON with another value at «a.0.b»."""
    fields = FULL.to_json()
    *path, last = (int(part) if part.isdigit() else part for part in place.split("."))
    inner: Any = fields
    for part in path:
        inner = inner[part]
    inner[last] = value
    return fields


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("schema", "quantlab-scale-table", 'lacks "schema": "quantlab-comparison"'),
        ("version", 2, "has version 2 of its format, and this quantlab reads 1"),
        ("samples", "20", "field «samples» is wrong: Input should be a valid integer"),
        ("samples", True, "field «samples» is wrong"),
        ("metrics.0.unit", "percent", "field «metrics.0.unit» is wrong"),
        ("metrics.0.interval", None, "field «metrics.0.interval» is wrong"),
        ("outputs.0.accumulated.noise", float("nan"), "cannot be read from this: .*not JSON compliant"),
        ("data.sketch", ["xyz"], "rising list"),
        ("extra", 1, "has no field «extra»"),
        (
            "agreement.flips",
            [{"index": 0, "name": "", "label": None, "fp32": 0, "int8": 1, "why": 0}],
            "«agreement.flips.0.why»",
        ),
    ],
)
def test_a_damaged_comparison_is_refused(place: str, value: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Comparison.from_json(changed(place, value))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", "null", "3", b"\xff"], ids=range(7))
def test_what_is_no_comparison_is_refused(text: str | bytes) -> None:
    with pytest.raises(InputError, match="comparison"):
        Comparison.from_json(text)


def test_a_missing_field_is_named() -> None:
    fields = FULL.to_json()
    del fields["backends"]
    with pytest.raises(InputError, match="field «backends» is wrong: Field required"):
        Comparison.from_json(fields)


def test_the_frame_has_a_line_a_tensor() -> None:
    frame = FULL.frame()
    assert frame["tensor"].tolist() == ["logits", "hidden", "logits"]
    assert frame["place"].tolist() == ["output", "inner", "inner"]
    assert frame["sqnr_db"].tolist() == [error.sqnr_db for error in (*FULL.outputs, *FULL.tensors)]
    assert np.isnan(frame["own_sqnr_db"]).tolist() == [True, False, True]
    assert frame.nsmallest(1, "sqnr_db")["tensor"].tolist() == [
        min((*FULL.outputs, *FULL.tensors), key=lambda error: error.sqnr_db).tensor
    ]


def test_the_scores_have_a_line_a_metric() -> None:
    frame = FULL.scores_frame()
    assert frame["metric"].tolist() == ["top-1", "top-5"]
    assert frame["drop"].tolist() == [score.drop for score in FULL.metrics]


def test_the_flips_have_a_line_a_sample() -> None:
    assert FULL.flips_frame()["index"].tolist() == [flip.index for flip in FULL.flips]


@pytest.mark.parametrize("value", [FULL, BARE], ids=["full", "bare"])
def test_a_notebook_shows_scores_samples_and_backends(value: Comparison) -> None:
    text = value._repr_html_()
    assert value.backends.int8 in text
    assert f"{value.samples} samples of «evaluation»" in text


def test_names_are_escaped_in_html() -> None:
    named = replace(BARE, data=replace(BARE.data, name="<script>"))
    assert "<script>" not in named._repr_html_()


def test_a_metrics_own_name_is_escaped_in_html() -> None:
    class Odd(TopK):
        @property
        def name(self) -> str:
            return "<b>"

    assert "<b>" not in compare(Network(), Network(), samples(3), metrics=[Odd(1)])._repr_html_()
