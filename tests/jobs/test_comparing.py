"""The comparing step: two files that go together, made anew together, and every activation measured."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from quantlab.comparison.sample_file import read_samples, samples_path
from quantlab.data import Preprocess, arrays
from quantlab.data.pictures import check_thumbnail
from quantlab.errors import InputError, StaleError, UsageError
from quantlab.jobs.comparing import Comparing, compare_models, read_comparison
from quantlab.jobs.data_source import DataSource
from quantlab.jobs.manifest import file_digest, recorded
from tests.cli.workplace import DECLARED, done, furnish, network, write_set

PREPROCESS = Preprocess(color="GRAY", scale=1 / 255, mean=0.5, std=0.25)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a comparison was made; tests that change it copy it."""
    folder = quantized(undecided(furnish(tmp_path_factory.mktemp("compared"))))
    compare_models(comparing(folder))
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "place")
    return tmp_path / "place"


def undecided(folder: Path) -> Path:
    """Take the mean logits off the head, so that every class is chosen and small errors change it."""
    proto = network()
    with np.load(folder / "calibration.npz") as stored:
        values = (stored["image"].transpose(0, 3, 1, 2).astype(np.float32) / 255 - 0.5) / 0.25
    (logits,) = map(np.asarray, ReferenceEvaluator(proto).run(None, {"image": values}))
    for tensor in proto.graph.initializer:
        if tensor.name == "b3":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) - logits.mean(axis=0), "b3"))
    onnx.save(proto, folder / "model.onnx")
    write_set(folder / "evaluation.npz", proto, 40, 2)
    return folder


def quantized(folder: Path, *collected: str) -> Path:
    """Calibrate and quantize the model of a folder."""
    data = ("-d", folder / "calibration.npz", *DECLARED, "--expose", "all", *collected)
    done("collect", folder / "model.onnx", *data, "-o", folder / "histograms.h5")
    done("calibrate", folder / "histograms.h5", "-m", "percentile:30", "-o", folder / "scales.json")
    done("quantize", folder / "model.onnx", folder / "scales.json", "-o", folder / "int8.onnx")
    return folder


def comparing(folder: Path) -> Comparing:
    data = DataSource(str(folder / "evaluation.npz"), PREPROCESS, batch=7)
    return Comparing(
        folder / "model.onnx", folder / "int8.onnx", data, folder / "compare.json", scales=folder / "scales.json"
    )


# ---- the samples' file


def test_every_sample_is_in_the_file_beside_the_comparison(made: Path) -> None:
    found, table = read_comparison(made / "compare.json"), read_samples(made / "compare.json")
    assert table is not None
    assert len(table) == found.samples == 40
    assert set(table.keys) == set(found.data.sketch)
    assert [pair.int8.mean() for pair in table.values.values()] == [score.int8 for score in found.metrics]
    assert table.names[2] == "evaluation[2]"


def test_both_files_are_in_the_manifest(made: Path) -> None:
    one, two = (recorded(made / name) for name in ("compare.json", "compare.samples.h5"))
    assert one is not None
    assert two is not None
    assert one.recipe == two.recipe
    assert two.sha256 == file_digest(made / "compare.samples.h5")
    told = read_comparison(made / "compare.json").samples_file
    assert told is not None
    assert (told.name, told.sha256) == ("compare.samples.h5", two.sha256)


def test_changed_samples_come_with_their_pictures(made: Path) -> None:
    table = read_samples(made / "compare.json")
    assert table is not None
    assert table.flipped
    assert set(table.pictures) == set(table.worst())
    for picture in table.pictures.values():
        check_thumbnail(picture)


def test_the_keys_are_those_of_the_rows_whatever_is_done_to_them(place: Path) -> None:
    what = comparing(place)
    other = replace(
        what, data=replace(what.data, preprocess=replace(PREPROCESS, mean=0.25), batch=40), output=place / "other.json"
    )
    compare_models(other)
    one, two = read_samples(place / "compare.json"), read_samples(place / "other.json")
    assert one is not None
    assert two is not None
    assert one.keys == two.keys
    assert not np.array_equal(one.signal, two.signal)


def test_another_pass_makes_the_same_bytes(place: Path) -> None:
    before = samples_path(place / "compare.json").read_bytes()
    assert compare_models(comparing(place), remake="always").fresh
    assert samples_path(place / "compare.json").read_bytes() == before


def test_what_is_current_is_left_alone(place: Path) -> None:
    assert not compare_models(comparing(place)).fresh


@pytest.mark.parametrize("name", ["compare.json", "compare.samples.h5"])
def test_a_missing_file_is_made_anew_with_the_other(place: Path, name: str) -> None:
    before = (place / name).read_bytes()
    (place / name).unlink()
    assert compare_models(comparing(place)).fresh
    assert read_samples(place / "compare.json") is not None
    if name.endswith(".h5"):
        assert (place / name).read_bytes() == before


def test_an_earlier_quantlabs_comparison_is_read_and_made_anew(place: Path) -> None:
    samples_path(place / "compare.json").unlink()
    fields = json.loads((place / "compare.json").read_text())
    del fields["samples_file"]
    for error in (*fields["tensors"], *fields["outputs"]):
        del error["position"], error["quantized"]
    (place / "compare.json").write_text(json.dumps(fields))
    old = read_comparison(place / "compare.json")
    assert (old.samples_file, old.tensors[0].position, old.tensors[0].quantized) == (None, None, None)
    assert read_samples(place / "compare.json") is None


def test_an_edited_samples_file_is_refused_and_made_anew_with_force(place: Path) -> None:
    path = samples_path(place / "compare.json")
    before = path.read_bytes()
    path.write_bytes(before + b" ")
    with pytest.raises(InputError, match=r"compare.samples.h5' was changed after quantlab made it"):
        compare_models(comparing(place))
    assert compare_models(comparing(place), remake="changed").fresh
    assert path.read_bytes() == before


def test_a_strangers_file_in_its_place_is_not_replaced(place: Path) -> None:
    what = replace(comparing(place), output=place / "mine.json")
    (place / "mine.samples.h5").write_text("precious")
    with pytest.raises(InputError, match=r"mine.samples.h5' exists and was not made by quantlab"):
        compare_models(what)
    assert (place / "mine.samples.h5").read_text() == "precious"


def test_samples_of_other_options_are_stale_with_their_comparison(place: Path) -> None:
    other = replace(comparing(place), top=(1,))
    with pytest.raises(StaleError, match=r"compare.json' is stale"):
        compare_models(other)
    (place / "compare.json").unlink()
    assert compare_models(other).fresh


def test_the_data_are_not_overwritten(place: Path) -> None:
    what = comparing(place)
    data = replace(what.data, place=str(place / "compare.samples.h5"))
    with pytest.raises(UsageError, match=r"compare.samples.h5' is also an input"):
        compare_models(replace(what, data=data), remake="always")


# ---- every activation


def test_every_activation_that_both_graphs_have_is_measured_in_graph_order(made: Path) -> None:
    found = read_comparison(made / "compare.json")
    assert [error.tensor for error in found.tensors] == ["image", "a", "b", "c", "d", "e", "f", "logits"]
    assert [error.position for error in found.tensors] == list(range(8))
    assert {error.tensor for error in found.tensors if error.quantized} >= {"image", "b"}
    assert [error.tensor for error in found.tensors if error.own] == [
        error.tensor for error in found.tensors if error.quantized
    ]
    assert found.outputs[0].position == 7


def test_a_tensor_within_a_fused_operator_has_the_error_that_reached_it(made: Path) -> None:
    found = {error.tensor: error for error in read_comparison(made / "compare.json").tensors}
    assert found["image"].accumulated.noise == 0
    assert found["a"].accumulated.noise > found["b"].accumulated.noise > 0  # Relu cuts half of it off


def test_a_fixed_batch_leaves_tensors_out_that_mix_its_samples(tmp_path: Path) -> None:
    folder = furnish(tmp_path)
    proto = onnx.parser.parse_model("""
<ir_version: 8, opset_import: ["" : 17]>
mixing (float[4,1,8,8] image) => (float[4,4] logits) <int64[2] wide = {2, 16}, int64[2] back = {4, 8}> {
  a = Conv <pads = [1,1,1,1]> (image, w1, b1)
  b = Relu (a)
  c = Conv <pads = [1,1,1,1]> (b, w2, b2)
  e = GlobalAveragePool (c)
  f = Flatten (e)
  pairs = Reshape (f, wide)
  again = Reshape (pairs, back)
  logits = Gemm <transB = 1> (again, w3, b3)
}
""")
    proto.graph.initializer.extend(network().graph.initializer)
    onnx.save(proto, folder / "model.onnx")
    quantized(folder)
    pixels = np.random.default_rng(9).integers(0, 256, (10, 8, 8, 1), np.uint8)
    np.savez(folder / "evaluation.npz", image=pixels, label=np.zeros(10, np.int64))
    compare_models(comparing(folder))
    found = read_comparison(folder / "compare.json")
    assert found.samples == 10
    assert "pairs" not in {error.tensor for error in found.tensors}
    assert {"a", "c", "logits"} <= {error.tensor for error in found.tensors}


def test_the_pictures_are_the_rows_of_the_file(made: Path) -> None:
    table = read_samples(made / "compare.json")
    assert table is not None
    row = table.worst()[0]
    again = arrays(made / "evaluation.npz").picture(table.keys[row])
    assert again is not None
    assert again.size == (8, 8)
