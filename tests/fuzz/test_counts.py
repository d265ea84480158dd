"""A few bytes that stand for millions: of errors, names, messages, nodes and values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from pydantic import ValidationError

from quantlab import engines
from quantlab.cli.console import cell
from quantlab.comparison.comparison import Comparison
from quantlab.errors import InputError
from quantlab.graph.model import load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.size_limits import refuse_too_many
from quantlab.graph.wire import has_too_many
from quantlab.metrics.detection.coco_labels import read_coco
from quantlab.report.searched import read_search
from quantlab.storage.scale_table_json import read_scale_table
from tests.cli.workplace import network, quantlab
from tests.fuzz.seeds import TRAINING

MANY = 20_000
ROW = {
    "tensor": "a", "role": "activation", "scale": [1.0], "scale_hex": ["3f800000"], "zero_point": [0], "dtype": "int8",
    "scheme": "symmetric", "axis": None, "shape": None, "observed": None, "chosen": None, "method": "", "clipped": None,
    "sqnr_db": None,
}  # fmt: skip


def table(**changed: Any) -> str:
    fields = {"schema": "quantlab-scale-table", "version": 1, "cache_header": None, "provenance": None, "rows": [ROW]}
    return json.dumps(fields | changed)


def errors(path: Path, text: str, read: Any) -> int:
    """Return how many errors pydantic kept, a kilobyte each, before one was told."""
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        read(path)
    cause = refused.value.__cause__
    assert isinstance(cause, ValidationError), refused.value
    return cause.error_count()


@pytest.mark.parametrize(
    "changed",
    [
        {"rows": [{}] * MANY},
        {"rows": [1] * MANY},
        *({"rows": [ROW | {name: ["x"] * MANY}]} for name in ("scale", "scale_hex", "zero_point")),
        {"rows": [ROW | {"shape": [[]] * MANY}]},
        {"rows": [ROW | {"observed": ["x"] * MANY}]},
    ],
)
def test_of_many_wrong_items_one_is_kept(tmp_path: Path, changed: Any) -> None:
    assert errors(tmp_path / "scales.json", table(**changed), read_scale_table) < 20


def test_of_many_wrong_items_in_labels_and_searches_one_is_kept(tmp_path: Path) -> None:
    one = {"id": 1, "file_name": "a", "width": 1, "height": 1, "name": ""}
    coco = {"images": [one], "annotations": [{}] * MANY, "categories": [one]}
    assert errors(tmp_path / "labels.json", json.dumps(coco), read_coco) < 10
    search = {**TRAINING, "schema": "quantlab-tuned", "trials": [{}] * MANY}
    assert errors(tmp_path / "tune.json", json.dumps(search), read_search) < 30


def test_of_many_wrong_items_in_a_comparison_one_is_kept() -> None:
    with pytest.raises(InputError) as refused:
        Comparison.from_json(json.dumps({"schema": "quantlab-comparison", "version": 1, "metrics": [{}] * MANY}))
    assert isinstance(refused.value.__cause__, ValidationError)
    assert refused.value.__cause__.error_count() < 50


@pytest.mark.parametrize("where", ["table", "row"])
def test_objects_with_more_names_than_any_artefact_has_are_refused(tmp_path: Path, where: str) -> None:
    more = {f"k{i}": 1 for i in range(100_001)}
    (tmp_path / "s.json").write_text(table(**more) if where == "table" else table(rows=[ROW | more]))
    with pytest.raises(InputError, match="names, more than 100,000"):
        read_scale_table(tmp_path / "s.json")


def test_a_field_that_stands_twice_among_many_is_told(tmp_path: Path) -> None:
    """Looking for each name among all of them would take hours."""
    names = ", ".join(f'"k{i}": 1' for i in range(200_000))
    (tmp_path / "s.json").write_text(f'{{{names}, "k199999": 2}}')
    with pytest.raises(InputError, match="«k199999» occurs twice"):
        read_scale_table(tmp_path / "s.json")


def field(number: int, content: bytes) -> bytes:
    """Return a field of protobuf with a length."""
    digits, size = bytearray(), len(content)
    while size > 127:
        digits.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *digits, size]) + content


@pytest.mark.parametrize("message", [b"\x0a\x00", b"\x2a\x00", b"\x6a\x00", b"\x0a\x02\x2a\x00"])
def test_messages_of_two_bytes_are_counted_before_they_are_parsed(message: bytes) -> None:
    assert has_too_many(field(7, message * 5000), most=4000)
    assert not has_too_many(field(7, message * 1000), most=4000)


def test_weights_and_what_is_cut_short_are_no_messages() -> None:
    data = network().SerializeToString()
    assert not has_too_many(data, most=200)
    assert has_too_many(data, most=10)
    assert not has_too_many(b"", most=0)
    for end in range(0, len(data), 7):
        assert not has_too_many(data[:end] + b"\xff" * 20, most=1000)


def calls(depth: int) -> onnx.ModelProto:
    """Return a model of one call, of a function that calls another twice, and so on: 2**depth nodes."""
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("me", 1)]
    inner = [helper.make_function("me", "f0", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], sets)]
    for number in range(1, depth + 1):
        twice = [helper.make_node(f"f{number - 1}", [x], [y], domain="me") for x, y in (("a", "c"), ("c", "b"))]
        inner.append(helper.make_function("me", f"f{number}", ["a"], ["b"], twice, sets))
    return model([helper.make_node(f"f{depth}", ["x"], ["y"], domain="me")], functions=inner)


def model(nodes: list[onnx.NodeProto], weights: int = 0, **more: Any) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info(name, 1, ["n", 1]) for name in "xy"]
    stored = [numpy_helper.from_array(np.zeros(1, np.float32), f"w{i}") for i in range(weights)]
    graph = helper.make_graph(nodes, "g", [ends[0]], [ends[1]], stored)
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("me", 1)]
    return helper.make_model(graph, opset_imports=sets, ir_version=8, **more)


def test_functions_that_call_functions_do_not_multiply() -> None:
    assert len(normalise(load_model(calls(4))).model.proto.graph.node) == 16
    bomb = calls(40)
    assert bomb.ByteSize() < 5000
    for read in (normalise, engines.ort):
        with pytest.raises(InputError, match=r"has 3,298,534,883,327 nodes and stored tensors"):
            read(load_model(bomb))


def test_functions_that_call_each_other_in_a_long_row_are_a_sentence() -> None:
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("me", 1)]
    row = [
        helper.make_function(
            "me", f"f{i}", ["a"], ["b"], [helper.make_node(f"f{i + 1}", ["a"], ["b"], domain="me")], sets
        )
        for i in range(2000)
    ]
    end = helper.make_function("me", "f2000", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], sets)
    proto = model([helper.make_node("f0", ["x"], ["y"], domain="me")], functions=[*row, end])
    with pytest.raises(InputError, match="hundreds of times deep"):
        refuse_too_many(proto)


def test_more_tensors_and_readers_than_any_network_has_are_refused() -> None:
    with pytest.raises(InputError, match="100,002 nodes and stored tensors"):
        engines.ort(model([helper.make_node("Relu", ["x"], ["y"])], weights=100_001))
    fan = [helper.make_node("Relu", ["x"], [f"a{i}"]) for i in range(10_001)]
    with pytest.raises(InputError, match=r"'x' is read 10,001 times"):
        engines.ort(model([*fan, helper.make_node("Add", ["a0", "a1"], ["y"])]))


@pytest.mark.parametrize(
    "operators",
    ["f = Expand (x, s)", "f = Tile (x, s)", "i = Cast <to = 7> (x) f = OneHot (i, d, v)"],
)
def test_a_free_batch_hides_no_hundred_gigabytes(operators: str) -> None:
    text = (
        '<ir_version: 8, opset_import: ["" : 17]> g (float[n,1] x) => (float[n,1] y) '
        "<int64[2] s = {1, 25000000000}, int64 d = {25000000000}, float[2] v = {0.0, 1.0}> {"
        f"{operators} m = ReduceMax <keepdims = 0> (f) y = Add (x, m) }}"
    )
    with pytest.raises(InputError, match=r"25000000000\], 100,000,000,000 bytes; at most"):
        engines.ort(onnx.parser.parse_model(text))


@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 1, 1, 8, 8), (4,)])
@pytest.mark.parametrize("command", ["collect", "diagnose"])
def test_data_of_another_rank_are_a_sentence(tmp_path: Path, shape: tuple[int, ...], command: str) -> None:
    onnx.save(network(), tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", image=np.zeros(shape, np.float32))
    output = ("-o", tmp_path / "h.h5") if command == "collect" else ()
    ended = quantlab(command, tmp_path / "model.onnx", "-d", tmp_path / "data.npz", *output)
    assert ended.code == 4, ended.err
    assert "but the model wants image: float32[batch, 1, 8, 8]" in ended.err


def test_a_table_of_a_stranger_is_printed_no_longer_than_people_read(tmp_path: Path) -> None:
    head = "TRT-8601-EntropyCalibration2\n"
    (tmp_path / "long.cache").write_text(f"{head}{'a' * 3_000_000}: 3c010a14\n")
    assert len(quantlab("cache", "show", tmp_path / "long.cache").out) < 20_000
    (tmp_path / "many.cache").write_text(head + "".join(f"t{i}: 3c010a14\n" for i in range(10_002)))
    ended = quantlab("cache", "show", tmp_path / "many.cache")
    assert "t9999 " in ended.out
    assert "t10000 " not in ended.out
    assert "… 2 more; --json has them all" in ended.out
    assert len(quantlab("cache", "show", tmp_path / "many.cache", "--json").json["scales"]) == 10_002


def test_a_name_makes_no_line_of_its_own_in_a_table() -> None:
    assert cell("a\nError: all is lost\x1b[2J") == r"a\nError: all is lost\x1b[2J"
