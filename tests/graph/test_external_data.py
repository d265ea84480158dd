from __future__ import annotations

import os
from pathlib import Path

import onnx
import pytest
from onnx.external_data_helper import convert_model_to_external_data

from quantlab.errors import InputError
from quantlab.graph.model import load_model
from tests.graph.small_models import wide_model


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
