"""What fuzzing and reading the parsers with hostile eyes have found: each with the file that did it."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import struct
import zlib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pytest
from PIL import Image

from quantlab.calibration.trt_cache import parse_cache
from quantlab.data import Preprocess, images
from quantlab.data.array_files import read_columns
from quantlab.data.decoding import available_formats, decode
from quantlab.data.listing import list_images
from quantlab.data.pixels import of_array
from quantlab.errors import LONGEST, InputError, QuantlabError, UsageError
from quantlab.graph.metadata import METADATA_KEY
from quantlab.graph.model import load_model
from quantlab.jobs.comparing import target_of
from quantlab.jobs.lining_up import read_result
from quantlab.storage.dataclass_json import Form
from quantlab.storage.run_history import FILE, history
from quantlab.storage.scale_table_json import read_scale_table
from quantlab.storage.yaml_text import parse_yaml, read_yaml
from tests.cli.workplace import network

SMALL = Preprocess(resize=8, crop=(8, 8))


@dataclass(frozen=True)
class _Number:
    value: float

    def to_json(self) -> dict[str, Any]:
        return Form("quantlab-number", "number", "make it again").write(self)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int) -> bytes:
    """Return a picture of one bit a pixel, all zeros: a few kilobytes, however large."""
    packed = zlib.compressobj(9)
    rows = b"".join(packed.compress(bytes((width + 7) // 8 + 1)) for _ in range(height)) + packed.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_picture_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(60_000, 60_000))
    with pytest.raises(InputError, match="89478485"):
        decode(tmp_path / "a.png", SMALL, available_formats())


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "BMP", "PCX", "TGA"])
def test_a_header_alone_makes_no_picture(tmp_path: Path, kind: str) -> None:
    file = io.BytesIO()
    Image.new("L", (12_345, 3)).save(file, kind)
    hostile = file.getvalue()
    for width in (struct.pack("<H", 12_345), struct.pack(">H", 12_345), struct.pack("<H", 12_344)):
        hostile = hostile.replace(width, b"\xff\xfe")
    (tmp_path / "a").write_bytes(hostile[:400])
    with pytest.raises(InputError):
        decode(tmp_path / "a", SMALL, available_formats())


def test_of_an_animation_one_picture_is_decoded(tmp_path: Path) -> None:
    frames = [Image.new("P", (16, 16), number) for number in range(20)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert decode(tmp_path / "a.gif", SMALL, available_formats()).shape == (3, 8, 8)


@pytest.mark.parametrize("resize", [10**9, [10**6, 10**6]])
def test_a_preprocessing_cannot_ask_for_a_picture_of_gigabytes(tmp_path: Path, resize: object) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="resize to less"):
        decode(tmp_path / "a.png", Preprocess.from_json({"resize": resize}), available_formats())


@pytest.mark.parametrize("field", ["scale", "mean", "std"])
def test_a_number_beyond_every_float_is_refused(field: str) -> None:
    with pytest.raises(InputError, match="must be finite"):
        Preprocess.from_json({field: 10**400})


@pytest.mark.parametrize("pattern", ["(a+)+$", "((a|ab)*)", "(a?){30}", ".*.*.*.*(x)", "((a{1,20}){1,20})$"])
def test_a_label_pattern_that_never_ends_is_refused(tmp_path: Path, pattern: str) -> None:
    Image.new("L", (4, 4)).save(tmp_path / f"{'a' * 60}!.png")
    with pytest.raises(UsageError, match="would never end"):
        list_images(tmp_path, pattern)


@pytest.mark.parametrize("pattern", [r"^(\d+)_", r".*-(\d+)-.*", "([01])", r"(?:cat|dog)_(\d{1,3})"])
def test_a_plain_label_pattern_is_taken(tmp_path: Path, pattern: str) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "1_cat_1-0-x.png")
    assert list_images(tmp_path, pattern)[0].label in (0, 1)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    (tmp_path / "list.txt").write_text("p\n")
    with pytest.raises(InputError, match="no regular file"):
        read_yaml(tmp_path / "p")
    with pytest.raises(InputError, match="no regular file"):
        list_images(tmp_path / "p", None)
    with pytest.raises(InputError, match="None of the 1 images"):
        list(images(tmp_path / "list.txt", preprocess=SMALL, skip_bad=True))


def test_a_message_is_no_longer_than_people_read(tmp_path: Path) -> None:
    (tmp_path / "scales.json").write_text(
        json.dumps({"schema": "quantlab-scale-table", "version": 1, "x" * 100_000: 1, "rows": []})
    )
    with pytest.raises(InputError) as error:
        read_scale_table(tmp_path / "scales.json")
    assert len(str(error.value)) <= 2 * LONGEST
    assert str(InputError("a" * 10_000)).startswith("a" * 1000)
    assert str(QuantlabError("short")) == "short"


def test_a_text_in_the_place_of_a_mapping_is_refused() -> None:
    for text in ("!!map a", "!!omap a", "!!set a", "a: !!map b"):
        with pytest.raises(InputError, match="YAML"):
            parse_yaml(text, "The text")


def test_a_history_that_claims_a_cell_of_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / FILE
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 1903978601")
        connection.execute("PRAGMA user_version = 1")
        connection.execute(f"CREATE TABLE runs (a) -- {'x' * 600}")
    data = path.read_bytes()
    at = data.index(b"CREATE TABLE") - 40
    for place in range(at, at + 30):  # the length of the row, whichever byte it is in
        hostile = bytearray(data)
        hostile[place : place + 5] = b"\x87\xff\xff\xff\x7f"
        path.write_bytes(hostile)
        with pytest.raises(QuantlabError) as error:
            history(tmp_path)
        assert not isinstance(error.value.__cause__, MemoryError)


def test_metadata_of_a_model_that_nest_without_end_are_refused_or_none() -> None:
    proto = network()
    proto.metadata_props.add(key=METADATA_KEY, value="[" * 100_000)
    assert target_of(load_model(proto)) is None


def test_json_that_nests_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lineup.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="no JSON"):
        read_result(tmp_path / "lineup.json")


def test_a_version_of_thousands_of_digits_is_none() -> None:
    assert parse_cache(f"TRT-{'9' * 5000}-EntropyCalibration2\na: 3c010a14\n").version is None


def test_a_picture_of_sixteen_bits_keeps_its_rounding(tmp_path: Path) -> None:
    values = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16) + np.uint16(0)
    Image.fromarray(values).save(tmp_path / "a.png")
    found = decode(tmp_path / "a.png", Preprocess(color="GRAY"), available_formats())
    np.testing.assert_array_equal(found[0], np.arange(256).reshape(16, 16))


def test_an_initializer_named_twice_and_odd_attributes_are_sentences() -> None:
    proto = network()
    proto.graph.initializer.append(proto.graph.initializer[0])
    with pytest.raises(InputError, match="not unique"):
        load_model(proto)
    proto = network()
    proto.graph.node[0].attribute.append(onnx.AttributeProto(name="axis", ref_attr_name="x"))
    with pytest.raises(InputError, match="refers to the attribute"):
        load_model(proto)


def heap_of_no_size() -> bytes:
    """Return a view of a dataset whose list of sources lies in a heap with an object of no size."""
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        file["x"] = np.ones((4, 3))
        layout = h5py.VirtualLayout((4, 3), "f8")
        layout[:] = h5py.VirtualSource(".", "x", (4, 3))
        file.create_virtual_dataset("view", layout)
    data = bytearray(image.getvalue())
    at = data.index(b"GCOL") + 16
    while data[at : at + 2] != b"\0\0":  # the free space comes last
        at += 16 + (int.from_bytes(data[at + 8 : at + 16], "little") + 7) // 8 * 8
    data[at + 8 : at + 16] = bytes(8)
    return bytes(data)


def test_an_hdf5_heap_in_which_the_library_would_walk_for_ever_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(heap_of_no_size())
    with pytest.raises(InputError, match="an object of no size"):
        read_columns(tmp_path / "a.h5")
    (tmp_path / "a.h5").write_bytes(b"x" * 512 + heap_of_no_size())
    with pytest.raises(InputError, match="an object of no size"):
        read_columns(tmp_path / "a.h5")


def test_texts_of_any_length_beside_the_arrays_do_no_harm(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.ones((4, 3))
        file["x"].attrs["note"] = "GCOL" * 3000
    assert list(read_columns(tmp_path / "a.h5")) == ["x"]


def test_sizes_of_other_than_eight_bytes_are_refused(tmp_path: Path) -> None:
    data = bytearray(heap_of_no_size())
    data[14] = 4
    (tmp_path / "a.h5").write_bytes(data)
    with pytest.raises(InputError, match="not of eight bytes"):
        read_columns(tmp_path / "a.h5")


def test_a_header_of_four_gigabytes_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr': '<f4'")
    with pytest.raises(InputError, match="claims 4,294,967,295 bytes"):
        read_columns(tmp_path / "a.npy")


def test_weights_of_pytorch_run_no_program(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")
    from quantlab.qat.quantizer_files import load_checkpoint

    (tmp_path / "weights.pt").write_bytes(f"cos\nmkdir\n(V{tmp_path / 'harmed'}\ntR.".encode())
    with pytest.raises(InputError, match=r"weights\.pt"):
        load_checkpoint(tmp_path / "weights.pt")
    assert not (tmp_path / "harmed").exists()


def test_an_integer_that_no_float_holds_is_not_read_as_infinity() -> None:
    form = Form("quantlab-number", "number", "make it again")
    text = '{"schema": "quantlab-number", "version": 1, "value": %s}'
    assert form.read(_Number, text % "1e300") == _Number(1e300)
    for digits in (309, 400):
        with pytest.raises(InputError, match=r"[Oo]ut of range"):
            form.read(_Number, text % ("1" + "0" * digits))


def test_an_array_file_of_python_2_is_read_without_advice(tmp_path: Path) -> None:
    header = b"{'descr': '<i2', 'fortran_order': False, 'shape': (1L, 3L), }".ljust(117) + b"\n"
    (tmp_path / "a.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + struct.pack("<3h", 1, 2, 3)
    )
    (column,) = read_columns(tmp_path / "a.npy").values()
    assert (column.shape, column.dtype) == ((1, 3), np.dtype("<i2"))
    assert [block.tolist() for block in column.blocks(1)] == [[[1, 2, 3]]]


def test_an_image_of_numbers_beyond_float32_is_refused() -> None:
    with pytest.raises(InputError, match="beyond float32"):
        of_array(np.full((4, 4), 1e300), "RGB")
    assert np.isinf(of_array(np.full((4, 4), np.inf), "RGB")).all()
