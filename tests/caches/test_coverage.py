"""What implicit and explicit quantization run in INT8: the rules against engines that TensorRT 8.6 built."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Literal

import pytest

from quantlab.audit.inspector import parse_inspector
from quantlab.audit.layers import layer_rows
from quantlab.audit.network import Network
from quantlab.caches.coverage import coverage
from quantlab.calibration.trt_cache import parse_cache
from quantlab.graph.model import load_model
from quantlab.graph.target import Target
from tests.caches.networks import SCALES, model

GOLDEN = Path(__file__).parents[1] / "golden" / "trt-8.6"


def test_a_whole_cache_covers_more_than_a_float_head() -> None:
    found = coverage(model(), SCALES, target=Target((11, 0)))
    assert {row.node for row in found.lost} == {
        node.name for node in model().proto.graph.node if node.output[0] in ("mean", "flat", "logits")
    } or {row.operator for row in found.lost} == {"GlobalAveragePool", "Flatten", "Gemm"}
    assert all(row.reason for row in found.lost)
    assert found.counts["implicit"] == found.counts["operators"]


def test_with_an_int8_head_nothing_is_lost() -> None:
    assert coverage(model(), SCALES, target=Target((11, 0)), head="int8").lost == ()


def test_a_tensor_without_a_scale_is_float_on_both_roads() -> None:
    some = [name for name in SCALES if name != "both"]
    rows = {row.operator: row for row in coverage(model(), some, target=Target((11, 0)), head="int8").rows}
    assert (rows["Concat"].implicit, rows["Concat"].explicit) == (False, False)


@pytest.mark.reference
@pytest.mark.parametrize(
    ("engine", "road", "head"),
    [
        ("int8_entropy2_b128", "implicit", "float"),
        ("lite0_qdq", "explicit", "float"),
        ("lite0_qdq_head_int8", "explicit", "int8"),
    ],
)
def test_the_rules_say_what_tensorrt_did(
    reference: Path, engine: str, road: Literal["implicit", "explicit"], head: Literal["float", "int8"]
) -> None:
    network = load_model(reference / "models" / "efficientnet_lite0.onnx")
    scaled = parse_cache((GOLDEN / "efficientnet_lite0.entropy2.cache").read_text()).scales
    found = {row.node: getattr(row, road) for row in coverage(network, scaled, target=Target((8, 6)), head=head).rows}
    inspection = parse_inspector(gzip.decompress((GOLDEN / f"{engine}.inspector.json.gz").read_bytes()).decode())
    rows = layer_rows(inspection, Network.of(network), {})
    real = {node: row.precision == "INT8" for row in rows if row.role == "compute" for node in row.nodes}
    both = found.keys() & real.keys()
    assert len(both) == 110
    assert {node: found[node] for node in both} == {node: real[node] for node in both}
