"""The commands one by one: what each writes and prints, and that what is current stays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from quantlab.comparison.comparison import Comparison
from quantlab.storage.calibration_cache import read_cache
from quantlab.storage.histograms_h5 import read_histograms
from quantlab.storage.scale_table_json import read_scale_table
from tests.cli.workplace import DECLARED, done, quantlab, refused, tree


def test_a_second_time_nothing_is_done(place: Path) -> None:
    before = tree(place)
    model, data, histograms = place / "model.onnx", place / "calibration.npz", place / "histograms.h5"
    for arguments in (
        ("collect", model, "-d", data, *DECLARED, "--expose", "all", "-o", histograms),
        ("calibrate", histograms, "-o", place / "scales.json"),
        ("quantize", model, place / "scales.json", "-o", place / "int8.onnx"),
        ("cache", "convert", place / "scales.json", "--model", model, "-o", place / "int8.cache"),
    ):
        assert "is current: nothing changed, nothing done" in done(*arguments).out
    assert tree(place) == before


def test_forced_a_step_is_done_again(place: Path) -> None:
    before = (place / "scales.json").stat().st_mtime_ns
    assert "written" in done("calibrate", place / "histograms.h5", "-o", place / "scales.json", "--force").out
    assert (place / "scales.json").stat().st_mtime_ns > before


def test_the_budget_and_the_batch_change_nothing(place: Path) -> None:
    arguments = ("-d", place / "calibration.npz", *DECLARED, "--expose", "all", "-o", place / "histograms.h5")
    ended = done("collect", place / "model.onnx", *arguments, "--batch", 5, "--budget", "1KiB")
    assert "is current" in ended.out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--expose", "quantizable"), 'option expose was "all" and is "quantizable"'),
        (("--expose", "all", "--mean", "0.4"), "option preprocess.mean was 0.5 and is 0.4"),
        (("--expose", "all", "--tensorrt-grid", "8"), "option grid was null and is 8"),
    ],
)
def test_another_option_makes_an_artefact_stale(place: Path, change: tuple[str, ...], words: str) -> None:
    before = tree(place)
    arguments = ("-d", place / "calibration.npz", *DECLARED, *change, "-o", place / "histograms.h5")
    assert words in refused(5, "collect", place / "model.onnx", *arguments)
    assert tree(place) == before


@pytest.mark.parametrize(
    ("model", "data", "words"), [("other", "calibration", "the model changed"), ("model", "tuning", "the data changed")]
)
def test_another_input_makes_an_artefact_stale(place: Path, model: str, data: str, words: str) -> None:
    arguments = ("-d", place / f"{data}.npz", *DECLARED, "--expose", "all", "-o", place / "histograms.h5")
    assert words in refused(5, "collect", place / f"{model}.onnx", *arguments)


def test_collect_reads_shortcuts_and_a_file_alike(place: Path) -> None:
    common = ("-d", place / "calibration.npz", "--expose", "all", "-o", place / "histograms.h5")
    (place / "p.yaml").write_text("color: GRAY\nscale: 1/255\nmean: 0.5\nstd: 0.25\n")
    shortcuts = ("--color", "GRAY", "--scale", "1/255", "--mean", "0.5", "--std", "0.25")
    for declared in (("--preprocess", place / "p.yaml"), shortcuts, (*DECLARED, "--std", "1/4")):
        assert "is current" in done("collect", place / "model.onnx", *common, *declared).out


def test_collect_reads_images_of_a_folder(place: Path) -> None:
    for index, image in enumerate(np.load(place / "calibration.npz")["image"][:5]):
        Image.fromarray(image[..., 0]).save(place / f"{index}.png")
    (place / "bad.png").write_text("no image")
    arguments = (place / "model.onnx", "-d", place, *DECLARED, "-o", place / "folder.h5")
    assert "bad.png" in refused(4, "collect", *arguments)
    ended = done("collect", *arguments, "--skip-bad")
    assert "1 images could not be read and were left out: bad.png" in ended.err
    assert read_histograms(place / "folder.h5").provenance.chosen_on[0].preprocess["mean"] == 0.5


def test_collect_reads_a_script(place: Path) -> None:
    (place / "loader.py").write_text(
        "import numpy as np\n"
        "def load_data():\n"
        "    for seed in range(3):\n"
        "        yield {'image': np.random.default_rng(seed).normal(size=(2, 1, 8, 8)).astype('f')}\n"
    )
    arguments = ("collect", place / "model.onnx", "-d", place / "loader.py", "-o", place / "script.h5")
    assert "6 samples" in done(*arguments).out
    assert "is current" in done(*arguments).out


def test_random_data_are_marked_for_ever(place: Path) -> None:
    ended = done("collect", place / "model.onnx", "--random", 4, "--expose", "all", "-o", place / "random.h5", "--json")
    assert ended.json["provenance"]["chosen_on"][0]["random"] is True
    assert "random ones, no data" in ended.err
    done("calibrate", place / "random.h5", "-o", place / "random.json")
    done("quantize", place / "model.onnx", place / "random.json", "-o", place / "random.onnx")
    arguments = ("-d", place / "evaluation.npz", *DECLARED, "-o", place / "compare.json", "--json")
    found = done("compare", place / "model.onnx", place / "random.onnx", *arguments).json
    assert found["chosen_on"][0]["random"] is True


def test_every_later_command_tells_of_random_data(place: Path) -> None:
    model, data = place / "model.onnx", ("-d", place / "evaluation.npz", *DECLARED)
    done("collect", model, "--random", 4, "--expose", "all", "-o", place / "random.h5")
    (place / "made").mkdir()
    for arguments in (
        ("calibrate", place / "random.h5", "-o", place / "made" / "scales.json"),
        ("quantize", model, place / "made" / "scales.json", "-o", place / "random.onnx"),
        ("quantize", model, place / "made" / "scales.json", "-o", place / "random.onnx"),  # current
        ("cache", "convert", place / "made" / "scales.json", "--model", model, "-o", place / "random.cache"),
        ("cache", "show", place / "random.cache"),
        ("cache", "diff", place / "random.cache", place / "made" / "scales.json"),
        ("compare", model, place / "random.onnx", *data, "-o", place / "compare.json"),
        ("report", place / "made", "-o", place / "report.html"),
    ):
        ended = done(*arguments, "--json")
        assert "calibrated on random data: «random», 4 samples" in ended.err, arguments
        assert any("calibrated on random data" in note for note in ended.json["notes"]), arguments


def test_calibrate_writes_csv_rules_and_a_cache(place: Path) -> None:
    ended = done(
        "calibrate", place / "histograms.h5", "-m", "minmax", "--rule", "b=percentile:99,of=nonzero", "--csv",
        "--cache", place / "out.cache", "--model", place / "model.onnx", "--tensorrt", "10.3.0", "-o", place / "new.json",
        "--json",
    )  # fmt: skip
    table = read_scale_table(place / "new.json")
    assert table["b"].method == "Percentile(p=99.0, of='nonzero')"
    assert table["d"].method == "MinMax()"
    assert [item["fresh"] for item in ended.json["outputs"]] == [True, True, True]
    assert (place / "new.csv").read_text().startswith("tensor,role,")
    assert (place / "out.cache").read_text().startswith("TRT-100300-EntropyCalibration2\n")
    assert dict(ended.json["scales"]) == {row.tensor: list(row.scale) for row in table.rows}


def test_tensorrts_methods_want_tensorrts_grid(place: Path) -> None:
    data = ("-d", place / "calibration.npz", *DECLARED, "--expose", "all")
    done("collect", place / "model.onnx", *data, "--tensorrt-grid", 8, "-o", place / "trt.h5")
    done("calibrate", place / "trt.h5", "-m", "tensorrt-entropy2", "-o", place / "trt.json")
    assert "lowest expected SQNR" not in done(
        "calibrate", place / "trt.h5", "-m", "tensorrt-entropy2", "-o", place / "t2.json").out  # fmt: skip
    assert "TensorRTGrid" in refused(
        2, "calibrate", place / "histograms.h5", "-m", "tensorrt-minmax", "-o", place / "x.json"
    )
    assert "default grid" in refused(2, "calibrate", place / "trt.h5", "-m", "minmax", "-o", place / "x.json")


@pytest.mark.parametrize(
    ("method", "algorithm", "first"),
    [
        ("tensorrt-minmax", None, "TRT-8601-MinMaxCalibration"),
        ("tensorrt-legacy", None, "0 3ff0000000000000"),
        ("tensorrt-entropy2", None, "TRT-8601-EntropyCalibration2"),
        ("tensorrt-minmax", "EntropyCalibration2", "TRT-8601-EntropyCalibration2"),
    ],
)
def test_the_header_follows_the_method(place: Path, method: str, algorithm: str | None, first: str) -> None:
    data = ("-d", place / "calibration.npz", *DECLARED, "--expose", "all")
    done("collect", place / "model.onnx", *data, "--tensorrt-grid", 8, "-o", place / "trt.h5")
    more = () if algorithm is None else ("--algorithm", algorithm)
    cache = ("--cache", place / "trt.cache", "--model", place / "model.onnx", *more)
    ended = done("calibrate", place / "trt.h5", "-m", method, *cache, "-o", place / "trt.json", "--json")
    assert (place / "trt.cache").read_text().startswith(first)
    assert any("but the scales are those of" in note for note in ended.json["notes"]) == (algorithm is not None)


def test_quantize_lists_what_stays_float(place: Path) -> None:
    ended = done("quantize", place / "model.onnx", place / "scales.json", "-o", place / "new.onnx")
    assert "What stays float" in ended.out
    assert "2 activations and 2 weights in INT8 for tensorrt" in ended.out
    found = done("quantize", place / "model.onnx", place / "scales.json", "-o", place / "third.onnx", "--json").json
    assert set(found["quantized"]) == {"image", "b"}
    assert found["floats"]["logits"] == "output of the model"


def test_quantize_can_leave_tensors_without_a_scale_float(place: Path) -> None:
    data = ("-d", place / "calibration.npz", *DECLARED, "--expose", "image")
    done("collect", place / "model.onnx", *data, "-o", place / "one.h5")
    done("calibrate", place / "one.h5", "-o", place / "one.json")
    arguments = ("quantize", place / "model.onnx", place / "one.json", "-o", place / "one.onnx")
    assert "'b'" in refused(4, *arguments)
    assert done(*arguments, "--allow-missing", "--json").json["quantized"] == ["image"]


def test_lint_calls_a_float_model_an_error(place: Path) -> None:
    ended = quantlab("lint", place / "model.onnx", "--json")
    assert (ended.code, [found["rule"] for found in ended.json["findings"]]) == (1, ["no-qdq"])


def test_lint_finds_nothing_in_our_models_and_errors_in_a_bad_one(place: Path) -> None:
    assert "0 errors" in done("lint", place / "int8.onnx").out
    proto = onnx.load(place / "int8.onnx")
    for tensor in proto.graph.initializer:
        if tensor.name.endswith("zero_point") and tensor.dims == []:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(3, np.int8), tensor.name))
    onnx.save(proto, place / "bad.onnx")
    ended = quantlab("lint", place / "bad.onnx", "--json")
    assert ended.code == 1
    assert ended.json["counts"]["error"] > 0


def test_compare_scores_and_names_what_ran(place: Path) -> None:
    arguments = ("compare", place / "model.onnx", place / "int8.onnx", "-d", place / "evaluation.npz", *DECLARED)
    ended = done(*arguments, "--scales", place / "scales.json", "-o", place / "compare.json")
    assert "onnxruntime" in ended.out
    assert "a simulation of TensorRT" in ended.out
    assert "«evaluation» (final)" in ended.out
    found = Comparison.from_json((place / "compare.json").read_text())
    assert found.final
    assert found.samples == 40
    assert {error.tensor for error in found.tensors if error.quantized} == {"image", "b"}
    assert all((error.own_sqnr_db is not None) == error.quantized for error in found.tensors)
    assert [error.position for error in found.tensors] == list(range(len(found.tensors)))
    assert found.sizes is not None
    assert found.sizes.fp32 == (place / "model.onnx").stat().st_size
    assert "is current" in done(*arguments, "--scales", place / "scales.json", "-o", place / "compare.json").out


def test_compare_refuses_the_scales_of_another_method(place: Path) -> None:
    done("calibrate", place / "histograms.h5", "-m", "percentile:90", "-o", place / "other.json")
    arguments = ("compare", place / "model.onnx", place / "int8.onnx", "-d", place / "evaluation.npz", *DECLARED)
    sentence = refused(5, *arguments, "--scales", place / "other.json", "-o", place / "c.json")
    assert "The scales are not those of the INT8 model: tensor «image»" in sentence
    assert not (place / "c.json").exists()


@pytest.mark.parametrize("target", ["tensorrt", "ort"])
def test_compare_takes_the_models_own_scales_in_every_form(place: Path, target: str) -> None:
    scheme = {"tensorrt": "symmetric-uint8", "ort": "affine-uint8"}[target]
    done("calibrate", place / "histograms.h5", "--scheme", scheme, "-o", place / "u.json")
    done("quantize", place / "model.onnx", place / "u.json", "--target", target, "-o", place / "u.onnx")
    data = ("-d", place / "evaluation.npz", *DECLARED)
    done("compare", place / "model.onnx", place / "u.onnx", *data, "--scales", place / "u.json", "-o", place / "c.json")


def test_compare_tells_of_another_preprocessing(place: Path) -> None:
    data = ("-d", place / "evaluation.npz", *DECLARED, "--mean", "0.4")
    arguments = ("compare", place / "model.onnx", place / "int8.onnx", *data, "-o", place / "c.json", "--json")
    words = "The scales were made with another preprocessing: mean was 0.5 and is 0.4."
    for _ in ("made", "current"):
        ended = done(*arguments)
        assert words in ended.err
        assert words in ended.json["notes"]


def test_compare_refuses_data_that_had_a_say(place: Path) -> None:
    arguments = ("compare", place / "model.onnx", place / "int8.onnx", "-d", place / "calibration.npz", *DECLARED)
    assert "was used to choose the scales" in refused(4, *arguments, "-o", place / "c.json")
    assert not done(*arguments, "--not-final", "-o", place / "c.json", "--json").json["final"]


def test_compare_calls_nothing_final_that_nobody_can_check(place: Path) -> None:
    proto = onnx.load(place / "int8.onnx")
    del proto.metadata_props[:]
    onnx.save(proto, place / "stranger.onnx")
    data = ("-d", place / "evaluation.npz", *DECLARED)
    ended = done("compare", place / "model.onnx", place / "stranger.onnx", *data, "-o", place / "c.json")
    assert "(not final: the model does not tell which data chose its scales)" in ended.out
    assert not Comparison.from_json((place / "c.json").read_text()).final


def test_a_drop_beyond_the_limit_is_exit_code_1(place: Path) -> None:
    proto = onnx.load(place / "int8.onnx")
    bias = next(t for t in proto.graph.initializer if t.name == "b3")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.array([900, 0, 0, 0], np.float32), "b3"))
    onnx.save(proto, place / "broken.onnx")
    data = ("-d", place / "evaluation.npz", *DECLARED)
    arguments = ("compare", place / "model.onnx", place / "broken.onnx", *data, "-o", place / "compare.json")
    ended = quantlab(*arguments, "--max-drop", "0.5", "--json")
    assert ended.code == 1
    assert ended.json["passed"] is False
    assert "points is more than the 0.5 allowed" in ended.err
    assert quantlab(*arguments, "--max-drop", "100").code == 0


def test_latency_is_for_optimized_models(place: Path) -> None:
    data = ("-d", place / "evaluation.npz", *DECLARED)
    arguments = ("compare", place / "model.onnx", place / "int8.onnx", *data, "--latency")
    assert "simulation" in refused(2, *arguments, "-o", place / "c.json")
    done("quantize", place / "model.onnx", place / "scales.json", "--target", "ort", "-o", place / "ort.onnx")
    found = done(
        "compare", place / "model.onnx", place / "ort.onnx", *data, "--latency", "-o", place / "c.json", "--json"
    )
    assert found.json["latency"]["batch"] == 32
    assert "unoptimized" not in found.json["backends"]["int8"]


def test_compare_can_leave_labels_out(place: Path) -> None:
    data = ("-d", place / "evaluation.npz", *DECLARED, "--no-labels")
    arguments = ("compare", place / "model.onnx", place / "int8.onnx", *data, "-o", place / "c.json")
    assert done(*arguments, "--json").json["metrics"] == []
    assert "no labels" in refused(4, *arguments, "--max-drop", "1")


def test_a_cache_goes_there_and_back(place: Path) -> None:
    done("cache", "convert", place / "int8.cache", "-o", place / "back.json")
    assert quantlab("cache", "diff", place / "back.json", place / "scales.json").code == 0
    done("cache", "convert", place / "int8.cache", "--model", place / "model.onnx", "-o", place / "back.onnx")
    here, there = (onnx.load(place / name).graph for name in ("int8.onnx", "back.onnx"))
    assert here == there


def test_cache_show_and_diff(place: Path) -> None:
    shown = done("cache", "show", place / "int8.cache", "--model", place / "model.onnx", "--json").json
    assert shown["version"] == "8.6.1"
    assert (shown["unknown"], shown["missing"]) == ([], [])
    assert "EntropyCalibration2" in done("cache", "show", place / "int8.cache").out
    done("calibrate", place / "histograms.h5", "-m", "percentile:90", "-o", place / "other.json")
    ended = quantlab("cache", "diff", place / "int8.cache", place / "other.json", "--json")
    assert ended.code == 1
    assert "b" in ended.json["changed"]
    assert quantlab("cache", "diff", place / "int8.cache", place / "other.json", "--tolerance", "9").code == 0


def test_a_partial_cache_has_to_be_asked_for(place: Path) -> None:
    data = ("-d", place / "calibration.npz", *DECLARED)
    done("collect", place / "model.onnx", *data, "-o", place / "some.h5")
    done("calibrate", place / "some.h5", "-o", place / "some.json")
    arguments = ("cache", "convert", place / "some.json", "--model", place / "model.onnx", "-o", place / "some.cache")
    assert "--allow-missing" in refused(4, *arguments)
    assert not (place / "some.cache").exists()
    assert "The cache is partial" in done(*arguments, "--allow-missing").err
    assert len(read_cache(place / "some.cache")) < 8


def test_json_is_one_object_and_nothing_else(place: Path) -> None:
    ended = done("calibrate", place / "histograms.h5", "-o", place / "scales.json", "--json")
    assert json.loads(ended.out)["outputs"][0]["fresh"] is False
    assert done("calibrate", place / "histograms.h5", "-o", place / "scales.json", "--quiet").out == ""


def test_json_of_a_current_model_tells_as_much(place: Path) -> None:
    arguments = ("quantize", place / "model.onnx", place / "scales.json", "-o", place / "new.onnx", "--json")
    made, current = done(*arguments).json, done(*arguments).json
    assert current == made | {"fresh": False}


@pytest.mark.parametrize(("arguments", "code"), [(("lint", "gone.onnx"), 4), (("lint", "--bogus"), 2)])
def test_json_of_an_error(arguments: tuple[str, ...], code: int) -> None:
    ended = quantlab(*arguments, "--json")
    assert (ended.code, ended.json["exit_code"]) == (code, code)
    assert ended.json["error"]
    assert ended.err


def test_a_sample_that_is_not_a_number_is_told(place: Path) -> None:
    done("collect", place / "model.onnx", "-d", place / "calibration.npz", *DECLARED, "-o", place / "nan.h5")
    done("calibrate", place / "nan.h5", "-o", place / "nan.json")
    done("quantize", place / "model.onnx", place / "nan.json", "-o", place / "nan.int8.onnx")
    values = np.random.default_rng(0).standard_normal((6, 1, 8, 8)).astype(np.float32)
    values[2] = np.nan
    np.savez(place / "nan.npz", image=values, label=np.zeros(6, np.int64))
    ended = done(
        "compare", place / "model.onnx", place / "nan.int8.onnx", "-d", place / "nan.npz", "-o", place / "n.json"
    )
    assert "NaN in the outputs: FP32 in 1 samples" in ended.err


def test_a_legacy_cache_says_which_quantile_made_it(place: Path) -> None:
    grid = ("--tensorrt-grid", "8", "--expose", "all")
    done("collect", place / "model.onnx", "-d", place / "calibration.npz", *DECLARED, *grid, "-o", place / "grid.h5")
    cache = ("--cache", place / "legacy.cache", "--model", place / "model.onnx")
    done("calibrate", place / "grid.h5", "-m", "tensorrt-legacy:0.999", *cache, "-o", place / "legacy.json")
    assert (place / "legacy.cache").read_text().startswith("0 3ff0000000000000 3feff7ced916872b\n")
