"""Names are mapped across a re-export by structure alone."""

from __future__ import annotations

import random
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlab.caches.matching import match
from quantlab.caches.rename import moved_provenance, rename, render_map
from quantlab.calibration.provenance import Provenance
from quantlab.calibration.trt_cache import parse_cache
from quantlab.errors import InputError
from quantlab.graph.model import load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.view import Graph
from tests.caches.exports import exported_again
from tests.caches.networks import SCALES, cache, joined, model, twins

SHIPPED = Path(__file__).parents[2] / "calib_data" / "fashion_net.onnx"
GOLDEN = Path(__file__).parents[1] / "golden" / "trt-8.6"


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=30)
def test_other_names_order_and_weights_change_no_pair(seed: int, weights: bool) -> None:
    proto, names = exported_again(joined(), random.Random(seed), weights=weights)
    renamed = rename(cache(), model(), load_model(proto))
    if weights:  # two branches of one shape are told apart by their weights alone
        assert {row.old: row.new for row in renamed.rows} == {
            row.old: names.get(row.old, row.old) for row in renamed.rows
        }
        assert len(renamed.rows) + len(renamed.ambiguous) == len(SCALES)
    else:
        assert {row.old: row.new for row in renamed.rows} == {name: names.get(name, name) for name in SCALES}
        assert renamed.told_by_weights
        assert renamed.ambiguous == {}
        assert renamed.lost == ()
        renamed.check()


def test_branches_of_one_shape_with_other_weights_are_named_and_not_guessed() -> None:
    proto, names = exported_again(joined(), random.Random(1), weights=True)
    renamed = rename(cache(), model(), load_model(proto))
    assert {"mixed", "again"} <= set(renamed.ambiguous)
    assert set(renamed.ambiguous["mixed"]) == {names["mixed"], names["again"]}
    with pytest.raises(InputError, match="structure does not tell where"):
        renamed.check()
    assert "ambiguous" in render_map(renamed)


def test_branches_that_hold_the_same_values_get_their_one_scale() -> None:
    old = load_model(twins())
    proto, names = exported_again(twins(), random.Random(2))
    same = {"image": 0.1, "one": 0.2, "two": 0.2, "first": 0.3, "second": 0.3, "out": 0.4}
    renamed = rename(cache(same), old, load_model(proto))
    assert set(renamed.cache.scales) == {names.get(name, name) for name in same}
    other = rename(cache({**same, "second": 0.35}), old, load_model(proto))
    assert set(other.ambiguous) == {"first", "second"}


def test_the_renamed_cache_keeps_header_and_bits() -> None:
    proto, names = exported_again(joined(), random.Random(3))
    renamed = rename(cache(), model(), load_model(proto))
    assert renamed.cache.header == cache().header
    assert {name: renamed.cache.scales[names.get(name, name)] for name in SCALES} == cache().scales


def test_names_that_tensorrt_invented_go_along_only_where_the_operators_are_the_same() -> None:
    own = "(Unnamed Layer* 9) [Constant]_output"
    given_cache = cache({**SCALES, own: 0.5})
    assert rename(given_cache, model(), model()).carried == (own,)
    proto = joined()
    proto.graph.node.append(onnx.helper.make_node("Identity", ["logits"], ["copy"]))
    proto.graph.output[0].name = "copy"
    assert own in rename(given_cache, model(), load_model(proto)).lost


def test_aliases_of_either_export_are_followed() -> None:
    proto, names = exported_again(joined(), random.Random(4))
    place = next(i for i, node in enumerate(proto.graph.node) if names["pool"] in node.output)
    node = proto.graph.node[place]
    node.output[0] = "before"
    proto.graph.node.insert(place + 1, onnx.helper.make_node("Identity", ["before"], [names["pool"]]))
    renamed = rename(cache(), model(), load_model(proto))
    assert {names["pool"], "before"} <= set(renamed.cache.scales)
    renamed.check()


def test_a_cache_of_another_model_is_refused() -> None:
    with pytest.raises(InputError, match=r"0 of the 16 tensors of the old model.*another model"):
        rename(cache({"elsewhere": 0.1}), model(), model())


def test_a_network_with_another_operator_keeps_what_is_the_same() -> None:
    proto, names = exported_again(joined(), random.Random(5))
    for node in proto.graph.node:
        if names["sumr"] in node.output:
            node.op_type = "Sigmoid"
    renamed = rename(cache(), model(), load_model(proto))
    assert {row.old: row.new for row in renamed.rows}["both"] == names["both"]
    assert all(names.get(row.old, row.old) == row.new for row in renamed.rows)


def test_the_provenance_goes_over_to_the_new_model_and_names_the_old_one() -> None:
    proto, _ = exported_again(joined(), random.Random(6))
    old, new = model(), load_model(proto)
    renamed = rename(cache(), old, new)
    known = Provenance(old.digest, "old.onnx", (), {"quantlab": "1"}, "log-linear")
    moved = moved_provenance(known, old, new, renamed)
    assert moved.model == new.digest
    assert old.digest in moved.versions["renamed from"]
    with pytest.raises(InputError, match="not for the old model"):
        moved_provenance(Provenance("sha256:0", "x", (), {}, ""), old, new, renamed)


def test_the_shipped_networks_own_cache_goes_along() -> None:
    old = load_model(SHIPPED)
    given_cache = parse_cache((GOLDEN / "fashion_net.entropy2.cache").read_text())
    for weights in (False, True):
        proto, names = exported_again(old.proto, random.Random(7), weights=weights)
        renamed = rename(given_cache, old, load_model(proto))
        assert all(names.get(row.old, row.old) == row.new for row in renamed.rows)
        assert renamed.ambiguous == {}
        assert len(renamed.rows) == sum(
            name in set(Graph(normalise(old).model.proto).tensors()) for name in given_cache.scales
        )
        renamed.check()


def test_both_of_torchs_exporters_agree_on_the_tensors_between_layers() -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")
    pytest.importorskip("onnxscript", reason="needs onnxscript: pip install onnxscript")
    from quantlab.qat.onnx_export import ExportOptions, export

    torch.manual_seed(0)
    nn = torch.nn
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU6(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(8, 5),
    ).eval()  # fmt: skip
    image = torch.zeros(2, 3, 12, 12)
    one = load_model(export(net, image, options=ExportOptions(exporter="torchscript", opset=18)))
    two = load_model(export(net, image, options=ExportOptions(exporter="dynamo", opset=18)))
    before, after = Graph(normalise(one).model.proto), Graph(normalise(two).model.proto)
    found = match(before, after)
    assert len(found.pairs) == len(before.float_activations())
    assert [before.position(old) for old in found.pairs] == [after.position(new) for new in found.pairs.values()]
    scales = {name: 0.01 * (i + 1) for i, name in enumerate(before.float_activations())}
    renamed = rename(cache(scales), one, two)
    assert list(renamed.cache.scales.values()) == list(cache(scales).scales.values())
