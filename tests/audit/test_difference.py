from __future__ import annotations

import json

import pytest

from quantlab.audit.audit import Audit, audit_engine
from quantlab.audit.difference import difference
from tests.audit.reports import CACHE, EXPLICIT, IMPLICIT, QDQ, QDQ_HEAD, layer, recorded, report, times

ADDS = [f"/_blocks.{i}/Add" for i in (2, 4, 6, 7, 9, 10, 12, 13, 14)]


def test_the_recorded_engines_differ_in_nine_adds_and_the_last_layers_output() -> None:
    found = difference(audit_engine(recorded(IMPLICIT)), audit_engine(recorded(EXPLICIT)))
    assert found.layers == (53, 64)
    fused = [group for group in found.changes if "fusion" in group.kinds]
    assert [group.nodes for group in fused] == [(add.replace("Add", "_project_conv/Conv"), add) for add in ADDS]
    assert all([row.kind for row in group.first] == ["CaskConvolution"] for group in fused)
    assert all([row.kind for row in group.second] == ["CaskConvolution", "PointWiseV2"] for group in fused)
    (last,) = [group for group in found.changes if "precision" in group.kinds]
    assert last.nodes == ("/_fc/Gemm",)
    assert [row.output_precision for row in (*last.first, *last.second)] == ["FP32", "INT8"]
    assert [row.name for row in found.only_second][::3] == ["input_QuantizeLinear", "logits_DequantizeLinear"]
    assert (len(found.only_first), len(found.only_second)) == (2, 4)


def test_the_layers_of_both_engines_are_all_accounted_for() -> None:
    found = difference(audit_engine(recorded(IMPLICIT)), audit_engine(recorded(EXPLICIT)))
    assert sum(len(group.first) for group in found.groups) + len(found.only_first) == 53
    assert sum(len(group.second) for group in found.groups) + len(found.only_second) == 64


def timed(name: str) -> Audit:
    return audit_engine(recorded(name), profile=times(name))


def test_the_dq_in_front_of_the_float_head_makes_the_difference_at_batch_128() -> None:
    found = difference(timed(CACHE), timed(QDQ))
    assert found.layers == (53, 54)
    assert [(group.nodes, group.kinds) for group in found.changes] == [
        (("/_fc/Gemm",), ("precision",)),
        (("/_avg_pooling/GlobalAveragePool",), ("precision",)),
    ]
    assert [(gain.place, round(gain.milliseconds, 4)) for gain in found.gains[:3]] == [
        ("/_swish_1/Clip_output_0_DequantizeLinear", 0.0310),
        ("/_fc/Gemm", 0.0117),
        ("/_avg_pooling/GlobalAveragePool", 0.0026),
    ]
    assert "1.3657 and 1.4164 ms in all layers (+0.0507); most at «/_swish_1/Clip_output_0_Deq" in found.summary()


def test_with_an_int8_head_no_node_differs_at_batch_128() -> None:
    found = difference(timed(CACHE), timed(QDQ_HEAD))
    assert (found.layers, found.changes) == ((53, 53), ())
    assert max(abs(gain.milliseconds) for gain in found.gains) < 0.0006
    assert sum(gain.milliseconds for gain in found.gains) == pytest.approx(0.0062, abs=1e-4)


def test_the_copy_that_quantizes_the_input_stands_for_the_q_that_does() -> None:
    (gain,) = [gain for gain in difference(timed(CACHE), timed(QDQ)).gains if "input_Q" in gain.place]
    assert gain.place.startswith("input_QuantizeLinear in place of Reformatting CopyNode for Input Tensor 0 to")
    assert (round(gain.first, 4), round(gain.second, 4)) == (0.0382, 0.0392)


def test_the_gains_add_up_to_the_engines_times() -> None:
    first, second = timed(QDQ), timed(QDQ_HEAD)
    found = difference(first, second)
    assert sum(gain.first for gain in found.gains) == pytest.approx(first.milliseconds)
    assert sum(gain.second for gain in found.gains) == pytest.approx(second.milliseconds)


def test_without_both_engines_times_there_are_no_gains() -> None:
    found = difference(timed(CACHE), audit_engine(recorded(QDQ)))
    assert found.gains == ()
    assert "ms in all layers" not in found.summary()


def test_an_engine_differs_from_itself_in_nothing() -> None:
    audit = audit_engine(recorded(EXPLICIT))
    found = difference(audit, audit)
    assert found.changes == ()
    assert all(group.kinds == () for group in found.groups)
    assert (found.only_first, found.only_second) == ((), ())


def test_the_largest_difference_in_time_comes_first() -> None:
    names = ("a", "b")
    first = report(*(layer(name, "CaskConvolution", "x INT8", "y INT8", name) for name in names))
    second = report(*(layer(name, "CaskConvolution", "x FP16", "y FP16", name) for name in names))
    found = difference(
        audit_engine(first, profile={"a": 1.0, "b": 1.0}), audit_engine(second, profile={"a": 1.5, "b": 4.0})
    )
    assert [(group.nodes, group.milliseconds) for group in found.changes] == [
        (("b",), (1.0, 4.0)),
        (("a",), (1.0, 1.5)),
    ]
    assert all(group.kinds == ("precision",) for group in found.changes)


def test_another_kernel_is_no_change_but_noted() -> None:
    first, second = (
        audit_engine(report(layer("a", "CaskConvolution", "x INT8", "y INT8", "a", TacticName=name))) for name in "st"
    )
    found = difference(first, second)
    assert found.changes == ()
    assert found.groups[0].kinds == ("kernel",)


def test_nodes_of_one_engine_only_are_no_difference_in_fusion() -> None:
    first = audit_engine(report(layer("pad + a", "CaskConvolution", "x INT8", "y INT8", "pad", "a")))
    second = audit_engine(report(layer("a", "CaskConvolution", "x INT8", "y INT8", "a")))
    assert difference(first, second).changes == ()


def test_the_forms_for_people_and_for_programs() -> None:
    found = difference(audit_engine(recorded(IMPLICIT)), audit_engine(recorded(EXPLICIT)))
    assert len(found.frame()) == len(found.groups) + 6
    assert json.loads(json.dumps(found.to_json()))["schema"] == "quantlab-audit-difference"
    assert "9 groups of nodes are fused differently, 1 run in another precision" in found.summary()
    assert str(found.changes[0]).startswith("/_blocks.2/_project_conv/Conv, /_blocks.2/Add: one layer (")
    evil = audit_engine(report(layer("<b>", "CaskConvolution", "x INT8", "y INT8", "<b>")))
    assert "<b>" not in difference(evil, evil)._repr_html_().replace("<tbody>", "")
