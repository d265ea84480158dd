"""The engines that TensorRT 8.6.0 built of EfficientNet-Lite0, joined with its model and the caches of that run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from quantlab.audit.audit import Audit, audit_engine
from quantlab.graph.model import Model, load_model
from quantlab.jobs.quantizing import read_scales
from tests.audit.reports import CACHE, EXPLICIT, FP16, GOLDEN, IMPLICIT, QDQ, QDQ_HEAD, recorded, times

pytestmark = pytest.mark.reference
MACS = 385_187_552  # of one image of 224 × 224


@pytest.fixture(scope="module")
def model(reference: Path) -> Model:
    return load_model(reference / "models" / "efficientnet_lite0.onnx")


def states(audit: Audit) -> Counter[tuple[str, str]]:
    return Counter((row.state, row.reason) for row in audit.tensors)


def test_the_implicit_engine_is_int8_but_for_its_output(model: Model) -> None:
    table = read_scales(GOLDEN / "efficientnet_lite0.entropy2.cache", model)
    audit = audit_engine(recorded(IMPLICIT), model=model, table=table)
    assert (audit.counts, audit.macs) == ({"INT8": 51}, {"INT8": MACS})
    assert (audit.reformats, audit.qdq_alone) == (1, 0)
    found = states(audit)
    assert found["int8", ""] + found["int8", "reformat"] == 51
    assert found["float", "output"] == 1
    absent = [row.tensor for row in audit.tensors if row.state == "absent"]
    assert [name for name in absent if not name.startswith("(Unnamed Layer*")] == ["/Reshape_output_0"]
    assert not [f for f in audit.findings if f.severity != "note"]


def test_a_legacy_cache_names_the_tensors_that_the_engine_stores(model: Model) -> None:
    table = read_scales(GOLDEN / "efficientnet_lite0.legacy.cache", model)
    audit = audit_engine(recorded(IMPLICIT), model=model, table=table)
    keyed = [row for row in audit.tensors if row.tensor in table]
    assert len(keyed) == 52
    assert sum(row.state == "int8" for row in keyed) == 51


def test_the_qdq_engine_keeps_its_adds_apart(reference: Path) -> None:
    path = reference / "golden" / "trt-8.6" / "efficientnet_lite0.qdq_w8.onnx"
    audit = audit_engine(recorded(EXPLICIT), model=path)
    assert (audit.counts, audit.macs) == ({"INT8": 60}, {"INT8": MACS})
    assert (audit.reformats, audit.qdq_alone) == (1, 2)
    assert states(audit)["int8", ""] + states(audit)["int8", "unfused"] == 61
    rules = Counter(finding.rule for finding in audit.findings)
    assert rules == {"unfused-add": 9, "output-quantized": 1, "input-quantized": 1, "reformat": 1}


def test_the_float_model_serves_for_the_qdq_engine_too(model: Model) -> None:
    audit = audit_engine(recorded(EXPLICIT), model=model)
    assert audit.macs == {"INT8": MACS}
    assert states(audit)["int8", ""] == 59


def test_names_and_metadata_agree_on_the_nodes(model: Model) -> None:
    text = recorded(IMPLICIT)
    by_metadata = audit_engine(text, model=model)
    by_name = audit_engine(text.replace("[ONNX Layer: ", "[Layer: "), model=model)
    pairs = zip(by_metadata.layers, by_name.layers, strict=True)
    assert all(set(one.nodes) == set(two.nodes) for one, two in pairs if one.role == "compute")


@pytest.mark.parametrize(
    ("name", "counts", "macs"),
    [
        (CACHE, {"INT8": 51}, {"INT8": MACS}),
        (QDQ, {"INT8": 49, "FP32": 2}, {"INT8": MACS - 1_280_000, "FP32": 1_280_000}),
        (QDQ_HEAD, {"INT8": 51}, {"INT8": MACS}),
        (FP16, {"FP16": 51}, {"FP16": MACS}),
    ],
)
def test_every_layer_has_its_precision_and_time_at_batch_128(
    name: str, counts: dict[str, int], macs: dict[str, int], model: Model
) -> None:
    audit = audit_engine(recorded(name), model=model, profile=times(name))
    assert (audit.profile, audit.profiles, audit.counts, audit.macs) == (2, 3, counts, macs)
    assert all(row.share is not None for row in audit.layers)
    assert sum(row.share or 0 for row in audit.layers) == pytest.approx(1)
    assert "profile" not in {finding.rule for finding in audit.findings}


def test_at_batch_1_the_fp16_engine_is_a_third_fp32(model: Model) -> None:
    audit = audit_engine(recorded(FP16), model=model)
    assert audit.counts == {"FP32": 18, "FP16": 33}
    assert audit.macs == {"FP32": 122_555_392, "FP16": 262_632_160}
    copies = [(f.severity, f.message) for f in audit.findings if " turns " in f.message]
    assert copies == [("warning", "A copy turns FP32 into FP16."), ("warning", "A copy turns FP16 into FP32.")]


def test_the_float_head_is_float_for_want_of_qdq_not_of_a_kernel(model: Model) -> None:
    table = read_scales(GOLDEN / "efficientnet_lite0.from_mse.cache", model)
    audit = audit_engine(recorded(QDQ), model=model, table=table)
    pooled = next(row for row in audit.tensors if row.tensor == "/_avg_pooling/GlobalAveragePool_output_0")
    assert (pooled.state, pooled.reason) == ("float", "no-scale")
    assert [(f.node, f.rule) for f in audit.findings if f.severity == "warning"] == [
        ("/_swish_1/Clip_output_0_DequantizeLinear", "unfused")
    ]


def test_an_engine_without_int8_is_told_once(model: Model) -> None:
    table = read_scales(GOLDEN / "efficientnet_lite0.entropy2.cache", model)
    audit = audit_engine(recorded(FP16), model=model, table=table)
    assert Counter(f.rule for f in audit.findings if f.severity == "warning") == {"not-int8": 1, "reformat": 2}


def test_a_kernel_that_reads_int8_and_writes_float_is_no_float_kernel(model: Model) -> None:
    table = read_scales(GOLDEN / "efficientnet_lite0.entropy2.cache", model)
    audit = audit_engine(recorded(CACHE), model=model, table=table, optimization_profile=0)
    (row,) = (row for row in audit.tensors if row.tensor == "/_swish_1/Clip_output_0")
    assert (row.state, row.reason) == ("float", "output")
    assert "runs in INT8 and writes it in float" in row.explanation
