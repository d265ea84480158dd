from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper, parser
from onnx.external_data_helper import convert_model_to_external_data

from quantlab.errors import InputError, MachineError
from quantlab.graph.model import Model, load_model, write_model
from quantlab.graph.stored_tensors import canonical_bytes, light_copy, rebuilt, stored_bytes


def small_model(opset: int = 17) -> onnx.ModelProto:
    return parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : {opset}]>
        net (float[N,3] x) => (float[N,2] y)
        <float[3,2] w = {{1,2,3,4,5,6}}, float[2] b = {{0.5,-0.5}}>
        {{ [gemm] y = Gemm(x, w, b) }}""")


def wide_model() -> onnx.ModelProto:
    """Two matrices of 4 KiB, which a light copy leaves out, and a bias that stays inside."""
    weights = np.random.default_rng(3).normal(size=(2, 32, 32)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h"], "first"),
        helper.make_node("MatMul", ["h", "w1"], ["k"], "second"),
        helper.make_node("Add", ["k", "b"], ["y"], "add"),
    ]
    tensors = [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)]
    tensors.append(numpy_helper.from_array(np.ones(32, np.float32), "b"))
    x, y = (helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["N", 32]) for n in "xy")
    graph = helper.make_graph(nodes, "wide", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def save_outside(folder: Path) -> Path:
    """Save `wide_model` with ONNX's own writer, its weights in `weights.bin`."""
    proto = wide_model()
    convert_model_to_external_data(proto, location="weights.bin", size_threshold=1024)
    onnx.save(proto, folder / "m.onnx")
    return folder / "m.onnx"


def rewrite_reference(path: Path, **changes: str) -> None:
    """Change how the first external tensor of a saved model refers to its data."""
    proto = onnx.ModelProto.FromString(path.read_bytes())
    tensor = next(t for t in proto.graph.initializer if t.external_data)
    entries = {e.key: e.value for e in tensor.external_data} | changes
    del tensor.external_data[:]
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(proto.SerializeToString())


def run(source: Path | onnx.ModelProto, x: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> list[object]:
    given = str(source) if isinstance(source, Path) else source.SerializeToString()
    session = onnxruntime.InferenceSession(given, providers=["CPUExecutionProvider"])
    outputs: list[object] = session.run(None, {"x": x})
    return outputs


# Reading


def test_a_path_a_proto_and_a_model_give_equal_models(tmp_path: Path) -> None:
    path = write_model(small_model(), tmp_path / "m.onnx")
    from_path, from_proto = load_model(path), load_model(small_model())
    assert from_path == from_proto
    assert load_model(from_path) is from_path
    assert load_model(str(path)) == from_path
    assert from_path.digest.startswith("sha256:")
    assert (from_path.path, from_proto.path) == (path, None)
    assert (from_path.name, from_proto.name) == ("m.onnx", "net")
    assert from_path.opset == 17


def test_the_text_of_a_model_does_not_contain_its_weights() -> None:
    assert len(repr(load_model(wide_model()))) < 200


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no file '.*no\.onnx'"):
        load_model(tmp_path / "no.onnx")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["a\0b.onnx", "n" * 300 + ".onnx"])
def test_an_impossible_name_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="onnx"):
        load_model(f"{tmp_path}/{name}")


def test_a_pipe_is_refused_without_reading_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(InputError, match="not a regular file"):
        load_model(tmp_path / "pipe.onnx")


@pytest.mark.parametrize(
    "content", [b"", b"hello, I am text", b"\x89PNG\r\n\x1a\n" + b"\0" * 60, b"\x80" * 5000, b"{}", b"PK\x03\x04"]
)
def test_a_file_that_is_not_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(InputError, match="is not an ONNX model"):
        load_model(tmp_path / "m.onnx")


def test_a_git_lfs_pointer_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(InputError, match="git lfs pull"):
        load_model(tmp_path / "m.onnx")


def test_a_model_cut_anywhere_is_refused(tmp_path: Path) -> None:
    data = small_model().SerializeToString()
    path = tmp_path / "m.onnx"
    for end in range(1, len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(InputError, match=r"truncated|without nodes|does not say which ONNX opset"):
            load_model(path)


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    data = bytearray(small_model().SerializeToString())
    data[20:60] = b"\xff" * 40
    (tmp_path / "m.onnx").write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"m\.onnx"):
        load_model(tmp_path / "m.onnx")


@pytest.mark.parametrize("field", ["node", "output"])
def test_an_empty_graph_is_refused(field: str) -> None:
    proto = small_model()
    proto.graph.ClearField(field)
    with pytest.raises(InputError, match=f"without {field}s"):
        load_model(proto)


@pytest.mark.parametrize("opset", [1, 10, 24, 99])
def test_an_opset_outside_the_range_is_refused(opset: int) -> None:
    with pytest.raises(InputError, match=f"opset {opset}, and quantlab reads 11 to 23"):
        load_model(small_model(opset))


@pytest.mark.parametrize("opset", [11, 13, 17, 21, 23])
def test_every_opset_inside_the_range_is_read(opset: int) -> None:
    assert load_model(small_model(opset)).opset == opset


def test_other_domains_are_left_alone() -> None:
    proto = small_model()
    proto.opset_import.append(helper.make_opsetid("acme.ops", 7))
    proto.graph.node[0].domain = "acme.ops"
    assert load_model(proto).opset == 17


def test_a_tensor_that_nothing_writes_is_named() -> None:
    proto = small_model()
    proto.graph.node[0].input[1] = "lost"
    with pytest.raises(InputError, match=r"node 'gemm' of type Gemm reads tensor 'lost'"):
        load_model(proto)
    proto = small_model()
    proto.graph.output[0].name = "lost"
    with pytest.raises(InputError, match="nothing writes its output 'lost'"):
        load_model(proto)


def test_what_the_checker_refuses_is_one_line() -> None:
    proto = small_model()
    proto.graph.node[0].attribute.append(helper.make_attribute("colour", 3))
    with pytest.raises(InputError, match="Unrecognized attribute: colour") as caught:
        load_model(proto)
    assert "\n" not in str(caught.value)


def test_nodes_in_any_order_are_read() -> None:
    proto = wide_model()
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(reversed(nodes))
    assert load_model(proto).opset == 17


def test_an_initializer_of_the_wrong_size_is_named() -> None:
    proto = wide_model()
    proto.graph.initializer[0].raw_data = b"\0" * 40
    with pytest.raises(InputError, match="'w0' holds 40 bytes"):
        load_model(proto)


def test_a_file_that_may_not_be_read_is_the_machine_s_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_model(small_model(), tmp_path / "m.onnx")

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(MachineError, match="may not be read"):
        load_model(path)


# External data


def test_external_data_is_loaded(tmp_path: Path) -> None:
    model = load_model(save_outside(tmp_path))
    assert not any(t.external_data for t in model.proto.graph.initializer)
    assert model == load_model(wide_model())


def test_external_data_of_an_object_cannot_be_found() -> None:
    proto = wide_model()
    convert_model_to_external_data(proto, location="weights.bin", size_threshold=1024)
    for tensor in proto.graph.initializer:
        tensor.ClearField("raw_data")
    with pytest.raises(InputError, match="give the path of the model"):
        load_model(proto)


def test_a_missing_data_file_is_named(tmp_path: Path) -> None:
    path = save_outside(tmp_path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(InputError, match=r"'weights\.bin' of tensor 'w0' is missing"):
        load_model(path)


@pytest.mark.parametrize(
    "location",
    ["/etc/passwd", "../secret.bin", "a/../../secret.bin", "..\\secret.bin", "C:\\secret.bin", "", "a\0b", "n" * 400],
)
def test_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret.bin").write_bytes(b"\1" * 10000)
    (tmp_path / "models").mkdir()
    path = save_outside(tmp_path / "models")
    rewrite_reference(path, location=location)
    with pytest.raises(InputError, match="not a file inside the model's folder"):
        load_model(path)


def test_a_link_that_leads_outside_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    path = save_outside(tmp_path / "models")
    os.mkfifo(tmp_path / "never")  # to open it would wait for ever
    (tmp_path / "models" / "inner").symlink_to(tmp_path)
    rewrite_reference(path, location="inner/never")
    with pytest.raises(InputError, match="not a file inside the model's folder"):
        load_model(path)


def test_a_link_in_circles_is_refused(tmp_path: Path) -> None:
    path = save_outside(tmp_path)
    (tmp_path / "round").symlink_to(tmp_path / "round")
    rewrite_reference(path, location="round")
    with pytest.raises(InputError, match=r"'round'"):
        load_model(path)


def test_a_link_that_stays_inside_is_followed(tmp_path: Path) -> None:
    path = save_outside(tmp_path)
    (tmp_path / "link.bin").symlink_to(tmp_path / "weights.bin")
    rewrite_reference(path, location="link.bin")
    assert load_model(path) == load_model(wide_model())


def test_a_data_file_that_is_not_regular_is_refused(tmp_path: Path) -> None:
    path = save_outside(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    rewrite_reference(path, location="pipe")
    with pytest.raises(InputError, match="not a regular file"):
        load_model(path)


def test_a_data_file_that_is_too_short_is_refused(tmp_path: Path) -> None:
    path = save_outside(tmp_path)
    data = (tmp_path / "weights.bin").read_bytes()
    (tmp_path / "weights.bin").write_bytes(data[:-1])
    with pytest.raises(InputError, match=rf"has {len(data) - 1} bytes, but tensor 'w1' needs"):
        load_model(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"length": "8"}, "declares 8 bytes"),
        ({"offset": "-4"}, "not a whole number"),
        ({"offset": "many"}, "not a whole number"),
        ({"offset": "99999999999999"}, "truncated"),
    ],
)
def test_impossible_offsets_and_lengths_are_refused(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    path = save_outside(tmp_path)
    rewrite_reference(path, **changes)
    with pytest.raises(InputError, match=words):
        load_model(path)


def test_a_huge_declared_shape_allocates_nothing(tmp_path: Path) -> None:
    path = save_outside(tmp_path)
    proto = onnx.ModelProto.FromString(path.read_bytes())
    proto.graph.initializer[0].dims[:] = [2**40, 2**20]
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(InputError, match="declares 4096 bytes"):
        load_model(path)


# Digest


def renamed_weight(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[1].name = "bias"
    proto.graph.node[0].input[2] = "bias"


def other_weight(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].float_data[0] = 1.0000001


def other_attribute(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].attribute.append(helper.make_attribute("alpha", 0.5))


def other_opset(proto: onnx.ModelProto) -> None:
    proto.opset_import[0].version = 18


@pytest.mark.parametrize("change", [renamed_weight, other_weight, other_attribute, other_opset])
def test_the_digest_changes_with_what_is_computed(change: Callable[[onnx.ModelProto], None]) -> None:
    proto = small_model()
    change(proto)
    assert load_model(proto).digest != load_model(small_model()).digest


def other_documentation(proto: onnx.ModelProto) -> None:
    proto.doc_string = proto.graph.doc_string = proto.graph.node[0].doc_string = "read me"
    proto.producer_name, proto.producer_version, proto.model_version = "exporter", "2", 5
    proto.metadata_props.add(key="author", value="me")
    proto.graph.input[0].doc_string = "an image"
    proto.graph.value_info.add(name="unused")
    proto.ir_version = 9


def raw_weights(proto: onnx.ModelProto) -> None:
    for tensor in proto.graph.initializer:
        raw = numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name)
        assert raw.raw_data
        tensor.CopyFrom(raw)


def other_order(proto: onnx.ModelProto) -> None:
    tensors = list(proto.graph.initializer)
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(reversed(tensors))


@pytest.mark.parametrize("change", [other_documentation, raw_weights, other_order])
def test_the_digest_is_blind_to_how_it_is_stored(change: Callable[[onnx.ModelProto], None]) -> None:
    proto = small_model()
    change(proto)
    assert load_model(proto).digest == load_model(small_model()).digest


@pytest.mark.parametrize("name", sorted(onnx.TensorProto.DataType.keys()))
def test_typed_and_raw_storage_have_the_same_bytes(name: str) -> None:
    if name in ("UNDEFINED", "STRING", "FLOAT6E2M3", "FLOAT6E3M2"):
        return  # no fixed size; or six bits, which onnx stores in one way only
    kind = onnx.TensorProto.DataType.Value(name)
    values = [0, 1, 1, 0, 1]
    typed = helper.make_tensor("t", kind, [5], values)
    raw = helper.make_tensor("t", kind, [5], numpy_helper.to_array(typed))
    stored = raw if raw.raw_data else numpy_helper.from_array(numpy_helper.to_array(typed), "t")
    assert stored.raw_data
    assert canonical_bytes(typed) == canonical_bytes(stored)
    assert len(canonical_bytes(typed)) == stored_bytes(typed)


def test_strings_differ_by_where_they_end() -> None:
    first = onnx.TensorProto(data_type=onnx.TensorProto.STRING, dims=[2], string_data=[b"ab", b"c"])
    second = onnx.TensorProto(data_type=onnx.TensorProto.STRING, dims=[2], string_data=[b"a", b"bc"])
    assert canonical_bytes(first) != canonical_bytes(second)


def test_an_unknown_element_type_is_refused() -> None:
    with pytest.raises(InputError, match="element type 0"):
        stored_bytes(onnx.TensorProto(name="t", dims=[1]))


# Writing


def test_what_is_written_reads_back_equal(tmp_path: Path) -> None:
    path = write_model(load_model(wide_model()), tmp_path / "out" / "m.onnx")
    assert load_model(path) == load_model(wide_model())
    assert [p.name for p in path.parent.iterdir()] == ["m.onnx"]


def test_external_weights_are_written_beside_the_model_and_run(tmp_path: Path) -> None:
    path = write_model(wide_model(), tmp_path / "m.onnx", external=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    assert path.stat().st_size < 1000
    assert load_model(path) == load_model(wide_model())
    onnx.checker.check_model(str(path))
    x = np.random.default_rng(0).normal(size=(4, 32)).astype(np.float32)
    np.testing.assert_array_equal(run(path, x), run(wide_model(), x))


def test_a_model_above_the_limit_gets_its_weights_outside(tmp_path: Path) -> None:
    write_model(wide_model(), tmp_path / "m.onnx", limit=4000)
    assert (tmp_path / "m.onnx.data").exists()
    write_model(wide_model(), tmp_path / "n.onnx", limit=20000)
    assert not (tmp_path / "n.onnx.data").exists()


def test_constants_in_nodes_above_the_limit_are_refused(tmp_path: Path) -> None:
    proto = small_model()
    value = numpy_helper.from_array(np.zeros((100, 100), np.float32))
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["c"], value=value))
    with pytest.raises(InputError, match="normalise the model first"):
        write_model(proto, tmp_path / "m.onnx", limit=4000)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_model_and_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_model(wide_model(), tmp_path / "m.onnx", external=True)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(_: Path, __: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    proto = wide_model()
    proto.graph.initializer[0].raw_data = bytes(4096)
    with pytest.raises(MachineError, match="no space"):
        write_model(proto, path, external=True)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


# Copies


def test_a_light_copy_declares_large_weights_and_keeps_small_ones() -> None:
    light = light_copy(wide_model())
    assert [t.name for t in light.graph.initializer] == ["b"]
    assert [i.name for i in light.graph.input] == ["x", "w0", "w1"]
    onnx.checker.check_model(light)


def test_rebuilding_with_the_same_tensors_computes_the_same() -> None:
    again = rebuilt(wide_model(), lambda tensor: tensor)
    assert load_model(again) == load_model(wide_model())
    assert rebuilt(again, lambda tensor: tensor) == again


def test_models_are_values() -> None:
    model = load_model(small_model())
    with pytest.raises(AttributeError):
        model.digest = ""  # type: ignore[misc]
    assert len({model, load_model(small_model())}) == 1
    assert isinstance(model, Model)
