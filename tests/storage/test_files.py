"""One pair for every artefact: `save` and `load`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest

from quantlab.calibration.scale_table import ScaleTable
from quantlab.errors import InputError, UsageError
from quantlab.graph.model import Model, load_model
from quantlab.storage.files import load, save
from tests.storage.values import HISTOGRAMS, TABLE


@pytest.fixture
def model() -> Model:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[N,4] x) => (float[N,4] y) { y = Relu(x) }'
    return load_model(onnx.parser.parse_model(text))


@pytest.mark.parametrize("name", ["histograms.h5", "histograms.HDF5"])
def test_histograms_are_saved_and_loaded(tmp_path: Path, name: str) -> None:
    save(HISTOGRAMS, tmp_path / name)
    assert load(tmp_path / name) == HISTOGRAMS


def test_a_scale_table_is_saved_and_loaded(tmp_path: Path) -> None:
    save(TABLE, str(tmp_path / "table.json"))
    assert load(str(tmp_path / "table.json")) == TABLE
    save(TABLE, tmp_path / "table.csv")
    assert load(tmp_path / "table.csv") == ScaleTable(TABLE.rows)


def test_a_cache_is_loaded_and_saved_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "a.cache").write_text("TRT-8601-EntropyCalibration2\nx: 3c010204\n")
    save(load(tmp_path / "a.cache"), tmp_path / "b.cache")
    assert (tmp_path / "b.cache").read_bytes() == (tmp_path / "a.cache").read_bytes()


def test_a_cache_for_a_model_is_written_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a TensorRT version and an algorithm: write it with .*write_cache"):
        save(TABLE, tmp_path / "table.cache")


def test_a_model_is_saved_and_loaded(tmp_path: Path, model: Model) -> None:
    save(model, tmp_path / "net.onnx")
    assert load(tmp_path / "net.onnx") == model


def test_a_quantized_model_is_saved_as_its_onnx(tmp_path: Path, model: Model) -> None:
    save(SimpleNamespace(model=model), tmp_path / "net.onnx")
    assert load(tmp_path / "net.onnx") == model


@pytest.mark.parametrize(
    ("value", "name", "sentence"),
    [
        (HISTOGRAMS, "a.json", r"Histograms are saved as \.h5 or \.hdf5, not as «\.json»"),
        (TABLE, "a.h5", r"A scale table is saved as \.json or \.csv or \.cache, not as «\.h5»"),
        (TABLE, "a", "not as «»"),
        ({"a": 1}, "a.json", "A dict cannot be saved"),
    ],
)
def test_a_value_has_its_own_suffixes(tmp_path: Path, value: object, name: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        save(value, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_an_unknown_suffix_is_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"«\.txt»; \.h5, \.hdf5, \.json, \.csv, \.cache, \.onnx, \.yaml, \.yml are known"
    ):
        load(tmp_path / "a.txt")


@pytest.mark.parametrize("suffix", [".h5", ".json", ".csv", ".cache", ".onnx"])
def test_a_missing_file_is_named(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(InputError, match="There is no file"):
        load(tmp_path / f"none{suffix}")


@pytest.mark.parametrize("name", ["a.h5", "a.json", "a.csv"])
def test_saving_over_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="is a folder"):
        save(HISTOGRAMS if name == "a.h5" else TABLE, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
