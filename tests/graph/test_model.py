from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from quantlab.errors import InputError, MachineError
from quantlab.graph.model import Model, load_model, write_model
from tests.graph.small_models import small_model, wide_model


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


def test_an_element_type_that_onnx_does_not_have_is_refused() -> None:
    proto = small_model()
    proto.graph.input[0].type.tensor_type.elem_type = 74
    with pytest.raises(InputError, match="tensor 'x' has the element type 74"):
        load_model(proto)


def test_names_that_are_not_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(small_model().SerializeToString().replace(b"gemm", b"\xff\xfe\xfd\xfc"))
    with pytest.raises(InputError, match="names that are not text"):
        load_model(tmp_path / "m.onnx")


@pytest.mark.parametrize("seed", range(100))
def test_a_file_with_one_random_byte_is_read_or_refused_in_one_sentence(tmp_path: Path, seed: int) -> None:
    random, data = np.random.default_rng(seed), bytearray(small_model().SerializeToString())
    data[random.integers(len(data))] = random.integers(256)
    (tmp_path / "m.onnx").write_bytes(bytes(data))
    said = []
    try:
        load_model(tmp_path / "m.onnx")
    except InputError as error:
        said.append(str(error))
    assert not any("\n" in sentence for sentence in said)


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


def test_models_are_values() -> None:
    model = load_model(small_model())
    with pytest.raises(AttributeError):
        model.digest = ""  # type: ignore[misc]
    assert len({model, load_model(small_model())}) == 1
    assert isinstance(model, Model)
