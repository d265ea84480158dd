from __future__ import annotations

import json

import pytest

import quantlab as ql
from quantlab.audit.audit import Audit, audit_engine
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.errors import InputError, QuantlabError, StaleError, UsageError
from quantlab.plots.engines import audit as draw_audit
from tests.audit.networks import residual_net, with_qdq
from tests.audit.reports import layer, report


def table(*tensors: str) -> ScaleTable:
    return ScaleTable(tuple(Scale(tensor, (0.5,)) for tensor in tensors))


FIRST = layer("c1 + PWN(r1)", "CaskConvolution", "in INT8", "b INT8", "c1", "r1", Weights={"Type": "Int8", "Count": 9})
SECOND = layer("c2 + add", "CaskConvolution", "b INT8, b INT8", "d INT8", "c2", "add")
COPY_IN = layer(
    "Reformatting CopyNode for Input Tensor 0 to c1", "Reformat", "image FP32", "in INT8", Origin="REFORMAT"
)
SOFTMAX = layer("soft", "SoftMaxV2", "d32 FP32", "e FP32", "soft")
COPY_OUT = layer(
    "Reformatting CopyNode for Input Tensor 0 to soft", "Reformat", "d INT8", "d32 FP32", Origin="REFORMAT"
)
HEAD = layer("c3", "CaskConvolution", "e FP32", "y FP32", "c3")
ENGINE = report(COPY_IN, FIRST, SECOND, COPY_OUT, SOFTMAX, HEAD)
SCALES = table("image", "a", "b", "c", "d", "e", "y")


def states(audit: Audit) -> dict[str, tuple[str, str]]:
    return {row.tensor: (row.state, row.reason) for row in audit.tensors}


def rules(audit: Audit) -> list[tuple[str, str]]:
    return [(finding.rule, finding.severity) for finding in audit.findings]


def test_every_tensor_of_the_table_is_accounted_for() -> None:
    audit = audit_engine(ENGINE, model=residual_net(), table=SCALES)
    assert states(audit) == {
        "image": ("int8", "reformat"),
        "a": ("fused", ""),
        "b": ("int8", ""),
        "c": ("fused", ""),
        "d": ("int8", "reformat"),
        "e": ("float", "no-kernel"),
        "y": ("float", "output"),
    }
    inside = next(row for row in audit.tensors if row.tensor == "c")
    assert inside.layer == "c2 + add"
    assert "«c2 + add»" in inside.explanation


def test_layers_are_counted_by_precision_and_weighted_by_their_work() -> None:
    audit = audit_engine(ENGINE, model=residual_net(), table=SCALES)
    assert audit.counts == {"INT8": 2, "FP32": 2}
    assert audit.macs == {"INT8": 2 * 8 * 16 * 72, "FP32": 8 * 16 * 8}
    assert (audit.reformats, audit.qdq_alone) == (2, 0)
    assert audit.layers[2].operators == ("Conv", "Add")
    assert "4.0" not in audit.summary()
    assert "2 in INT8, 2 in FP32" in audit.summary()


def test_findings_name_the_float_kernel_and_the_copies() -> None:
    found = rules(audit_engine(ENGINE, model=residual_net(), table=SCALES))
    assert ("float-kernel", "note") in found
    assert ("reformat", "note") in found
    assert ("reformat", "warning") in found
    assert ("no-kernel", "note") in found


def test_a_tensor_without_a_scale_keeps_its_layer_in_float() -> None:
    layers = (
        layer("c1 + PWN(r1)", "CaskConvolution", "image FP32", "b FP32", "c1", "r1"),
        layer("c2 + add", "CaskConvolution", "b FP32, b FP32", "d FP32", "c2", "add"),
    )
    audit = audit_engine(report(*layers), model=residual_net(), table=table("b", "d"))
    assert states(audit) == {"b": ("float", "no-scale"), "d": ("float", ""), "image": ("float", "no-scale")}
    assert "«image»" in audit.tensors[0].explanation


def test_a_q_that_no_kernel_took_in_is_found() -> None:
    layers = (
        layer("c1 + PWN(r1)", "CaskConvolution", "image FP32", "b FP32", "c1", "r1"),
        layer("b_QuantizeLinear", "Reformat", "b FP32", "b_quantized INT8", Origin="QDQ"),
        layer("c2", "CaskConvolution", "b_quantized INT8", "c FP32", "c2"),
        layer("PWN(add)", "PointWiseV2", "c FP32, b FP32", "y FP32", "add"),
    )
    audit = audit_engine(report(*layers), model=with_qdq("b"))
    assert states(audit)["b"] == ("converted", "unfused")
    assert ("unfused", "warning") in rules(audit)
    assert audit.qdq_alone == 1
    assert "b_QuantizeLinear" in audit.tensors[0].explanation


@pytest.mark.parametrize("kind", ["Reformat", "Scale", "kgen"])
def test_a_q_is_known_by_its_node_or_its_name(kind: str) -> None:
    by_node = layer("anything", kind, "b FP32", "q INT8", "b_QuantizeLinear")
    by_name = layer("b_QuantizeLinear_scale", kind, "b FP32", "q INT8")
    assert audit_engine(report(HEAD, by_node), model=with_qdq("b")).qdq_alone == 1
    assert audit_engine(report(HEAD, by_name)).qdq_alone == 1


def test_q_and_dq_inside_a_kernel_are_not_among_its_nodes() -> None:
    nodes = ("b_DequantizeLinear", "c2", "c_QuantizeLinear")
    taken_in = report(layer("c2", "CaskConvolution", "b INT8", "c INT8", *nodes))
    for model in (None, with_qdq("b", "c")):
        (row,) = audit_engine(taken_in, model=model).layers
        assert (row.role, row.nodes) == ("compute", ("c2",))


def test_q_and_dq_at_the_ends_are_told_apart() -> None:
    layers = (
        layer("image_QuantizeLinear", "Reformat", "image FP32", "q INT8", Origin="QDQ"),
        layer("c1", "CaskConvolution", "q INT8", "o INT8", "c1"),
        layer("y_DequantizeLinear", "Reformat", "o INT8", "y FP32", Origin="QDQ"),
    )
    assert rules(audit_engine(report(*layers))) == [("input-quantized", "note"), ("output-quantized", "warning")]


def test_an_add_outside_its_convolution_is_found() -> None:
    layers = (
        FIRST,
        layer("c2", "CaskConvolution", "b INT8", "c_quantized INT8", "c2"),
        layer("PWN(add)", "PointWiseV2", "c_quantized INT8, b INT8", "d INT8", "add"),
    )
    audit = audit_engine(report(*layers), model=with_qdq("b", "c", "d"))
    (finding,) = [f for f in audit.findings if f.rule == "unfused-add"]
    assert finding.node == "PWN(add)"
    assert "«c2»" in finding.message
    assert "residual" in finding.fix


def test_no_add_is_found_where_others_read_the_convolution_too() -> None:
    layers = (
        layer("c2", "CaskConvolution", "b INT8", "c INT8", "c2"),
        layer("PWN(add)", "PointWiseV2", "c INT8, b INT8", "d INT8", "add"),
        layer("c3", "CaskConvolution", "c INT8", "y FP32", "c3"),
    )
    assert "unfused-add" not in {f.rule for f in audit_engine(report(*layers), model=residual_net()).findings}


def test_times_are_shared_out() -> None:
    times = {"c1 + PWN(r1)": 3.0, "soft": 1.0, "Reformatting CopyNode for Input Tensor 0 to soft": 4.0, "gone": 2.0}
    audit = audit_engine(ENGINE, profile=times)
    assert [row.share for row in audit.layers] == [None, 0.3, None, 0.4, 0.1, None]
    assert audit.times == {"INT8": 3.0, "FP32": 1.0, "copies": 4.0}
    assert [f.node for f in audit.findings if f.rule == "profile"] == ["gone"]


def test_times_of_another_optimization_profile_are_joined_with_no_layer() -> None:
    engine = report(HEAD, layer("c3 [profile 1]", "CaskConvolution", "e [profile 1] FP32", "y [profile 1] FP32", "c3"))
    second = audit_engine(engine, profile={"c3 [profile 1]": 2.0})
    assert (second.profile, second.layers[0].name, second.milliseconds) == (1, "c3", 2.0)
    assert "1 layers in optimization profile 1 of 2" in second.summary()
    assert Audit.from_json(second.to_json()) == second
    for number, times in ((0, {"c3 [profile 1]": 2.0}), (1, {"c3": 2.0})):
        audit = audit_engine(engine, profile=times, optimization_profile=number)
        assert audit.milliseconds is None
        assert rules(audit) == [("profile", "warning")]


def test_a_scale_has_no_say_in_an_engine_with_qdq() -> None:
    layers = (
        layer("b_DequantizeLinear", "Reformat", "b INT8", "b_dequantized FP32", Origin="QDQ"),
        layer("c2", "CaskConvolution", "b_dequantized FP32", "d FP32", "c2"),
    )
    for model in (residual_net(), with_qdq("b")):
        audit = audit_engine(report(*layers), model=model, table=SCALES)
        assert states(audit)["d"] == ("float", "no-scale")
    (fix,) = [f.fix for f in audit.findings if f.rule == "unfused"]
    assert "--head int8" in fix


def test_of_two_layers_of_one_name_the_first_has_the_time() -> None:
    audit = audit_engine(report(HEAD, HEAD), profile={"c3": 2.0})
    assert [row.milliseconds for row in audit.layers] == [2.0, None]
    assert audit.milliseconds == 2.0


def test_untold_types_are_a_finding() -> None:
    text = '{"Layers": [{"Name": "a", "LayerType": "kgen", "Inputs": [{"Name": "x", "Dimensions": [-1]}]}]}'
    assert rules(audit_engine(text)) == [("types-unknown", "warning")]


def test_without_model_and_table_the_stored_tensors_are_listed() -> None:
    audit = audit_engine(ENGINE)
    assert states(audit) == {
        "image": ("int8", "reformat"),
        "b": ("int8", ""),
        "d": ("int8", "reformat"),
        "e": ("float", ""),
        "y": ("float", "output"),
    }
    assert (audit.model, audit.macs, audit.milliseconds, audit.times) == ("", {}, None, {})


def test_json_gives_back_the_audit() -> None:
    audit = audit_engine(ENGINE, model=residual_net(), table=SCALES, profile={"c3": 1.0})
    assert Audit.from_json(audit.to_json()) == audit
    assert Audit.from_json(json.dumps(audit.to_json())) == audit


@pytest.mark.parametrize(
    "spoil",
    [
        lambda fields: fields.pop("layers"),
        lambda fields: fields.update(schema="quantlab-comparison"),
        lambda fields: fields.update(version=2),
        lambda fields: fields.update(extra=1),
        lambda fields: fields["layers"][0].update(share="much"),
        lambda fields: fields["layers"][0].update(more=1),
        lambda fields: fields["tensors"][0].update(state="lost"),
    ],
)
def test_an_edited_audit_is_refused(spoil: object) -> None:
    fields = audit_engine(ENGINE).to_json()
    spoil(fields)  # type: ignore[operator]
    with pytest.raises(InputError, match="audit"):
        Audit.from_json(fields)


def test_names_are_escaped_in_html() -> None:
    evil = "<script>alert('x')</script>"
    audit = audit_engine(report(layer(evil, evil, f"{evil} FP32", f"{evil} FP32", evil)))
    assert "<script>" not in audit._repr_html_()
    assert "&lt;script&gt;" in audit._repr_html_()


def test_frames_have_a_line_a_layer_and_a_line_a_tensor() -> None:
    audit = audit_engine(ENGINE, model=residual_net(), table=SCALES)
    assert audit.frame()["precision"].tolist() == ["FP32", "INT8", "INT8", "INT8", "FP32", "FP32"]
    assert audit.tensor_frame()["tensor"].tolist() == ["image", "a", "b", "c", "d", "e", "y"]


def test_the_drawing_has_a_bar_a_precision() -> None:
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("Agg")
    axes = draw_audit(audit_engine(ENGINE))
    assert [patch.get_extents().width > 0 for patch in axes.patches] == [True, True]
    plt.close("all")


def test_another_networks_engine_is_refused() -> None:
    other = report(layer("elsewhere", "CaskConvolution", "x FP32", "y FP32", "elsewhere"))
    with pytest.raises(StaleError, match=r"another model.*«elsewhere»"):
        audit_engine(other, model=residual_net())


@pytest.mark.parametrize(
    "call",
    [
        lambda: audit_engine(b"{}"),  # type: ignore[arg-type]
        lambda: audit_engine(ENGINE, table="scales.json"),  # type: ignore[arg-type]
        lambda: audit_engine(ENGINE, model="nowhere.onnx"),
        lambda: audit_engine(ENGINE, profile={"c3": float("nan")}),
    ],
)
def test_a_wrong_argument_is_one_sentence(call: object) -> None:
    with pytest.raises(QuantlabError) as caught:
        call()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_the_audit_is_public() -> None:
    assert ql.audit_engine is audit_engine
    assert ql.Audit is Audit
    with pytest.raises(UsageError):
        ql.audit_engine(None)  # type: ignore[arg-type]
