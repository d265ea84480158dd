"""What the page shows follows from the run's values."""

from __future__ import annotations

import statistics
from dataclasses import replace

import numpy as np
import pytest

from quantlab.calibration.provenance import DataIdentity
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.comparison.agreement import Agreement, Flip
from quantlab.comparison.sample_table import SampleTable
from quantlab.errors import InputError
from quantlab.report.build import build
from quantlab.report.flips import MOST_FLIPS
from quantlab.report.report_score import Score
from quantlab.report.run_parts import RunParts
from tests.report.runs import (
    CALIBRATION,
    EVALUATION,
    METHODS,
    PROVENANCE,
    TUNING,
    comparison,
    histogram_set,
    measured,
    metric,
    names,
    parts,
    tables_of,
)


def test_a_tensor_s_row_holds_its_scale_its_errors_and_every_threshold() -> None:
    run = parts()
    data = build(run)
    assert [row.name for row in data.tensors] == ["a", "b", "c"]
    row, scale = data.tensors[1], run.tables["squared-error"]["b"]
    assert (row.position, row.scale, row.observed, row.chosen) == (2, scale.scale[0], scale.observed, scale.chosen)
    assert (row.clipped, row.expected_db) == (scale.clipped, scale.sqnr_db)
    assert [row.own_db, row.accumulated_db] == pytest.approx([39.0, 21.0])
    assert [line.method for line in row.thresholds] == list(METHODS)
    for line in row.thresholds:
        other = run.tables[line.method]["b"]
        assert other.chosen is not None
        assert (line.amax, line.clipped, line.expected_db) == (other.chosen.amax, other.clipped, other.sqnr_db)
    assert row.sketch is not None


def test_methods_carry_their_score_and_the_median_of_what_their_histograms_foretell() -> None:
    run = parts()
    data = build(run)
    assert [(row.name, row.chosen, row.tensors) for row in data.methods] == [
        ("minmax", False, 3), ("percentile:99.99", False, 3), ("squared-error", True, 3),
    ]  # fmt: skip
    assert data.methods[1].parameters == "Percentile(p=99.99, of='all')"
    assert data.methods[0].score == Score.of("Q/DQ model", run.tuning["minmax"])
    known = [row.sqnr_db for row in run.tables["minmax"].rows if row.sqnr_db is not None]
    assert data.methods[0].median_expected_db == statistics.median(known)


def test_the_choice_is_explained_by_the_numbers() -> None:
    assert build(parts()).choice == (
        "The result uses «squared-error», which has the highest output SQNR, the highest agreement and the highest median "
        "of expected SQNR of 3 methods. The smallest drop belongs to «minmax»."
    )
    histograms = histogram_set("ab")
    one = RunParts(tables=tables_of(histograms, ["minmax"]))
    assert build(one).choice == "«minmax» is the only method of this run."
    assert "none is marked" in build(parts(chosen=None)).choice
    assert build(RunParts()).choice == ""


def test_the_tuning_score_stands_in_where_nothing_was_evaluated() -> None:
    data = build(parts(final=None))
    assert data.score == Score.of("Q/DQ model", comparison(TUNING, metrics=(metric(0.2),)))
    assert data.verdict.state == "warn"
    assert "«tuning» had a say" in data.verdict.reason


def test_every_set_is_listed_once_with_all_it_was_used_for() -> None:
    final = comparison(chosen_on=(CALIBRATION, TUNING, replace(TUNING, name="older", digest="blake2b:ff")))
    uses = {row.identity.name: row.use for row in build(parts(final=final)).data}
    assert uses == {
        "calibration": "calibrated the scales",
        "tuning": "compared the methods, chose one of them",
        "older": "had a say in the scales",
        "evaluation": "scored the result",
    }


def test_random_calibration_is_never_forgotten() -> None:
    noise = replace(CALIBRATION, name="noise", random=True)
    histograms = histogram_set("ab", replace(PROVENANCE, chosen_on=(noise,)))
    data = build(RunParts(tables=tables_of(histograms), chosen="minmax", final=comparison(metrics=(metric(0.0, 0.0),))))
    assert data.random
    assert data.verdict.state == "warn"


def test_the_worst_tensors_are_the_ten_of_lowest_own_sqnr() -> None:
    data = build(parts(names(14)))
    assert [row.position for row in data.worst] == list(range(14, 4, -1))


def test_the_expected_sqnr_stands_in_for_what_was_not_measured() -> None:
    data = build(parts(names(4), final=comparison()))
    expected = [row.expected_db for row in data.worst]
    assert expected == sorted(expected, key=lambda db: db or 0)
    assert all(row.own_db is None for row in data.worst)


def test_only_the_first_flips_are_kept_but_all_are_counted() -> None:
    flips = tuple(Flip(i, "", 0, 0, 1) for i in range(MOST_FLIPS + 5))
    data = build(parts(final=comparison(agreement=Agreement(0, len(flips), flips))))
    assert data.flipped is not None
    assert (len(data.flipped.rows), data.flipped.count) == (MOST_FLIPS, MOST_FLIPS + 5)


def test_scales_read_from_a_cache_need_no_histogram() -> None:
    table = ScaleTable((Scale("x", (float(np.float32(0.5)),), role="unknown"), Scale("w", (0.25, 0.5), (0, 0), axis=0)))
    x, w = build(RunParts(tables={"cache": table})).tensors
    assert (x.sketch, x.expected_db, x.thresholds[0].amax) == (None, None, 63.5)
    assert (w.scale, w.channels) == (0.5, 2)


def test_sizes_come_from_the_comparison_unless_given() -> None:
    assert build(parts()).sizes == {"fp32": 4000, "int8": 1100}
    assert build(parts(sizes={"fp32": 10, "int8": 5})).sizes == {"fp32": 10, "int8": 5}


def test_the_heading_is_the_model_s_name_unless_given() -> None:
    assert build(parts()).title == "net.onnx in INT8"
    assert build(parts(title="Mine")).title == "Mine"
    assert build(RunParts()).title == "INT8 report"


def test_parts_of_two_models_are_refused() -> None:
    other = replace(PROVENANCE, model="sha256:9", model_name="other.onnx")
    tables = {"minmax": tables_of(histogram_set("a", other), ["minmax"])["minmax"]}
    with pytest.raises(InputError, match="2 models"):
        build(RunParts(tables=tables, histograms=histogram_set("a")))


def test_a_chosen_method_without_a_table_is_refused() -> None:
    with pytest.raises(InputError, match="«entropy» is none of the tables minmax"):
        parts(chosen="entropy")


def test_a_score_of_several_outputs_is_the_lowest() -> None:
    found = comparison()
    outputs = (
        *found.outputs,
        replace(found.outputs[0], tensor="second", accumulated=replace(found.outputs[0].accumulated, noise=1.0)),
    )
    assert Score.of("m", replace(found, outputs=outputs)).output_db == pytest.approx(0.0)
    assert Score.of("m", replace(found, agreement=Agreement())).agreement is None


def test_identities_stay_apart_by_digest_not_by_name() -> None:
    final = comparison(DataIdentity("calibration", "blake2b:77", 10))
    assert [row.identity.digest for row in build(parts(final=final, ort=None, tuning={})).data] == [
        "blake2b:aa",
        "blake2b:77",
    ]
    assert EVALUATION.digest not in {row.identity.digest for row in build(parts(final=final, ort=None)).data}


def test_scales_of_tensors_that_the_model_leaves_float_are_left_out() -> None:
    floats = {"b": "inside one kernel: Conv + Relu", "c": "the name of an operator too"}
    final = comparison(tensors=measured("ac"))
    data = build(parts(floats=floats, final=final))
    assert [row.name for row in data.tensors] == ["a", "c"]
    assert (data.unused, data.methods[0].tensors) == (1, 2)


def test_every_activation_stands_in_graph_order_and_what_int8_does_not_store_has_no_error_of_its_own() -> None:
    stored = [replace(error, position=2 * i, quantized=True) for i, error in enumerate(measured("abc"))]
    inner = replace(measured("z")[0], position=1, quantized=False)
    found = build(parts(final=comparison(tensors=(*stored, inner)))).activations
    assert [(one.position, one.name, one.quantized, one.row) for one in found] == [
        (1, "a", True, 1), (2, "z", False, None), (3, "b", True, 2), (4, "c", True, 3),
    ]  # fmt: skip
    assert [one.own_db is None for one in found] == [False, True, False, False]
    assert found[1].accumulated_db == pytest.approx(20.0)
    assert build(parts()).activations == ()


def test_samples_in_memory_stand_in_for_those_of_a_folder() -> None:
    zeros = np.zeros(5000)
    table = SampleTable(zeros, zeros, labels=np.ones(5000, np.int64))
    found = build(parts(final=comparison(samples_table=table))).flipped
    assert found is not None
    assert {cost.label: cost.samples for cost in found.classes}[1] == 5000
