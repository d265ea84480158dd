"""`quantlab build`: plans built by TensorRT-RTX, for real and without a GPU, and the commands for other machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantlab.calibration.trt_cache import render_cache
from quantlab.cli.phases import phases
from quantlab.cli.plan_options import build_options, layer_precisions, precisions, profiles
from quantlab.engines.cuda.memory import devices
from quantlab.engines.tensorrt.build_options import FromCache, FromRanges, NativeCalibration
from quantlab.engines.tensorrt.plan import read_plan
from quantlab.errors import InputError, UsageError
from quantlab.graph.model import load_model
from quantlab.jobs.data_source import DataSource, open_data
from quantlab.jobs.plan_scales import Calibration, StoredScales, calibration_data, calibration_source, stored_source
from quantlab.jobs.preprocessing import preprocess_of, read_preprocess
from tests.cli.workplace import DECLARED, done, quantlab, refused, tree

RTX = ("--library", "tensorrt_rtx")


def _float(place: Path, *more: object) -> tuple[object, ...]:
    return ("build", place / "model.onnx", "-o", place / "fp32.plan", *RTX, *more)


def test_a_float_and_a_qdq_model_become_plans_with_their_provenance(place: Path) -> None:
    done(*_float(place))
    ended = done("build", place / "int8.onnx", "-o", place / "int8.plan", *RTX)
    assert "int8.plan written" in ended.out
    assert "Q/DQ" in ended.out
    fp32, int8 = read_plan(place / "fp32.plan"), read_plan(place / "int8.plan")
    assert (fp32.card.library, fp32.card.scales, fp32.card.chosen_on) == ("tensorrt_rtx", "", ())
    assert int8.card.model_name == "int8.onnx"
    assert int8.card.chosen_on[0].count == 24
    assert len(int8.data) == int8.card.size > 0


def test_a_current_plan_is_left_alone_and_another_option_makes_it_stale(place: Path) -> None:
    done(*_float(place))
    before = tree(place)
    assert "is current: nothing changed, nothing done" in done(*_float(place)).out
    assert "option level was null and is 2" in refused(5, *_float(place, "--level", 2))
    assert tree(place) == before
    assert "written" in done(*_float(place, "--level", 2, "--force")).out


def test_a_new_plan_is_not_left_beside_the_old_ones_layer_times(place: Path) -> None:
    done(*_float(place))
    times = place / "fp32.plan.profile.json"
    times.write_text('{"conv": 1.0}')
    done(*_float(place))
    assert times.exists()
    done(*_float(place, "--force"))
    assert not times.exists()


def test_json_is_one_object_with_the_card(place: Path) -> None:
    found = done(*_float(place, "--json")).json
    assert found["fresh"] is True
    assert found["card"]["profiles"] == [{"image": [[1, 1, 8, 8], [32, 1, 8, 8], [32, 1, 8, 8]]}]


def test_shapes_become_profiles(place: Path) -> None:
    shapes = ("--shapes", "image:1x1x8x8,2x1x8x8,4x1x8x8", "--shapes", "image:16x1x8x8")
    card = done(*_float(place, *shapes, "--json")).json["card"]
    assert card["profiles"] == [
        {"image": [[1, 1, 8, 8], [2, 1, 8, 8], [4, 1, 8, 8]]},
        {"image": [[16, 1, 8, 8]] * 3},
    ]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (
            ("--cache", "int8.cache"),
            "no calibration caches (TensorRT up to 10 has): use Q/DQ; `quantlab cache convert`",
        ),
        (("--scales", "scales.json"), "no calibration caches"),
        (("--ranges", "scales.json"), "no dynamic ranges"),
        (("--calibrate", "minmax", "--random", 8), "no calibrators"),
        (("--precision", "fp16"), "no weak typing"),
        (("--precision", "int8"), "INT8 needs scales: a Q/DQ model"),
        (("--layer", "a=fp32"), "no precision constraints"),
        (("--timing-cache", "t"), "no timing caches"),
        (("--plugin", "p.so"), "no plugins"),
        (("--dla", 0), "no DLA"),
        (("--version-compatible",), "no version-compatible plans"),
        (("--hardware-compatible",), "no hardware-compatible plans"),
    ],
)
def test_what_tensorrt_rtx_lacks_is_refused_before_anything_is_read(
    place: Path, monkeypatch: pytest.MonkeyPatch, option: tuple[object, ...], words: str
) -> None:
    monkeypatch.chdir(place)
    before = tree(place)
    assert words in refused(2, *_float(place, *option))
    assert tree(place) == before


def test_the_way_out_that_a_refused_cache_names_is_open(place: Path) -> None:
    cache, model = place / "int8.cache", place / "model.onnx"
    assert "`quantlab cache convert`" in refused(2, *_float(place, "--cache", cache))
    done("cache", "convert", cache, "--model", model, "--target", "tensorrt@11.0", "-o", place / "way.onnx")
    done("build", place / "way.onnx", "-o", place / "way.plan", *RTX)
    assert read_plan(place / "way.plan").card.scales == "Q/DQ"


@pytest.mark.parametrize(
    ("code", "option", "words"),
    [
        (4, ("--shapes", "image:1x1x8x9"), "does not fit"),
        (4, ("--shapes", "picture:1x1x8x8"), "has no input «picture»"),
        (2, ("--shapes", "image:1x1x8x8,2x1x8x8"), "smallest, best and largest"),
        (2, ("--shapes", "image:4x1x8x8,2x1x8x8,1x1x8x8"), "rise in every dimension"),
        (2, ("--precision", "int9"), "not «int9»"),
        (2, ("--layer", "conv"), "PATTERN=PRECISION"),
        (2, ("--workspace", "much"), "512MiB"),
        (2, ("--workspace", "99999999999GiB"), "below 2**63"),
        (2, ("--shapes", "image:99999999999x1x8x8"), "below 2**31"),
        (2, ("--precision", "fp8"), "FP8 comes from Q/DQ nodes alone"),
        (2, ("--gpu-fallback",), "name the core too"),
        (2, ("--data", "x.npz"), "go with --calibrate"),
        (2, ("--calibrate", "kl", "--random", 8), "«kl» is none of them"),
        (2, ("--calibrate", "entropy2"), "needs calibration data"),
        (2, ("--cache", "a", "--ranges", "b"), "one file"),
        (2, ("--cache", "a", "--calibrate", "entropy2", "--random", 8), "one of the two"),
        (2, ("--cache", "scales.json"), "a scale table, no calibration cache"),
        (2, ("--cache", "a", "--precision", "fp16"), "--precision fp16+int8"),
        (2, ("--any-model",), "goes with --cache"),
        (2, ("--tensorrt", "10.3"), "installed"),
        (2, ("--emit", "polygraphy"), "--emit is trtexec"),
    ],
)
def test_wrong_options_end_in_a_sentence(place: Path, code: int, option: tuple[object, ...], words: str) -> None:
    assert words in refused(code, *_float(place, *option))
    assert not (place / "fp32.plan").exists()


def test_without_a_model_or_an_output_it_says_so(place: Path) -> None:
    assert "Name the model" in refused(2, "build")
    assert "Give -o PATH" in refused(2, "build", place / "model.onnx")
    assert "must end in .plan" in refused(2, "build", place / "model.onnx", "-o", place / "x.bin", *RTX)
    assert "--library is tensorrt or tensorrt_rtx" in refused(2, "build", "--capabilities", "--library", "tensorflow")


def test_emitting_needs_no_runtime(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt_rtx", None)
    monkeypatch.chdir(place)
    ended = done("build", "model.onnx", "--cache", "int8.cache", "--precision", "int8+fp16", "--emit", "trtexec")
    assert ended.out == (
        "trtexec --onnx=model.onnx --saveEngine=model.plan --skipInference --noTF32 --fp16 --int8 --calib=int8.cache "
        "--minShapes=image:1x1x8x8 --optShapes=image:32x1x8x8 --maxShapes=image:32x1x8x8 --profilingVerbosity=detailed "
        "--exportLayerInfo=model.plan.layers.json\n"
    )
    assert "copy the file too" in ended.err
    assert not (place / "model.plan").exists()


def test_the_command_for_11_has_no_cache_but_q_dq(place: Path) -> None:
    emit = ("--emit", "trtexec", "--tensorrt", "11.0")
    assert "removed in 11.0" in refused(2, "build", place / "model.onnx", "--cache", place / "int8.cache", *emit)
    found = done("build", place / "int8.onnx", "-o", place / "i.plan", *emit, "--json").json
    assert "--int8" not in found["command"]
    assert (found["library"], found["version"]) == ("tensorrt", "11.0")


def test_what_trtexec_cannot_express_is_said_with_the_way_there(place: Path) -> None:
    emit = ("build", place / "model.onnx", "--emit", "trtexec")
    for option in ("--scales", "--ranges"):
        assert "quantlab cache convert" in refused(2, *emit, option, place / "scales.json")
    assert "random numbers" in refused(2, *emit, "--calibrate", "entropy2", "--random", 8)


def test_the_scales_of_another_model_are_refused_unless_told_otherwise(place: Path) -> None:
    emit = ("build", place / "other.onnx", "--cache", place / "int8.cache", "--emit", "trtexec")
    assert "was made for the model «model.onnx»" in refused(5, *emit)
    assert "--calib=" in done(*emit, "--any-model").out


def test_the_capabilities_are_a_table(place: Path) -> None:
    ended = done("build", "--capabilities")
    assert "calibration cache" in ended.out
    assert "TensorRT-RTX 1.7" in ended.out
    found = done("build", "--capabilities", "--tensorrt", "11.0", "--json").json["features"]
    assert found["calibration cache"] == {"tensorrt 11.0": "no"}
    assert found["Q/DQ"] == {"tensorrt 11.0": "yes"}


def test_timing_layers_needs_a_gpu_and_says_so_before_building(place: Path) -> None:

    ended = quantlab(*_float(place, "--profile-layers"))
    assert devices() or (ended.code == 6 and not (place / "fp32.plan").exists())


def test_an_input_named_again_starts_another_profile_and_one_named_once_is_in_all() -> None:
    found = profiles(["a:1x2", "b:3", "a:4x2,5x2,6x2"])
    assert [dict(p.shapes) for p in found] == [
        {"a": ((1, 2),) * 3, "b": ((3,),) * 3},
        {"a": ((4, 2), (5, 2), (6, 2)), "b": ((3,),) * 3},
    ]
    with pytest.raises(UsageError, match="where another has 3"):
        profiles(["a:1", "a:2", "a:3", "b:1", "b:2"])


def test_names_of_inputs_may_have_colons_and_precisions_come_in_order() -> None:
    assert list(profiles(["in:0:1x2"])[0].shapes) == ["in:0"]
    assert precisions("fp16+int8") == ("fp16", "int8")
    assert list(layer_precisions(["a=fp16", "b=fp32", "a=fp32"]).items()) == [("b", "fp32"), ("a", "fp32")]


def test_scales_make_int8_of_the_default_precision() -> None:
    assert build_options(None, (), (), (), None, int8=True).precision == ("int8",)
    assert build_options(None, (), (), (), None, int8=False).precision == ("fp32",)
    assert build_options(None, (), (), (), "2GiB", int8=False).workspace == 2**31


def test_calibration_data_are_opened_for_a_tensorrt_that_calibrates(place: Path) -> None:

    model = load_model(place / "model.onnx")
    source = DataSource(str(place / "calibration.npz"), preprocess_of(read_preprocess(DECLARED[1])))
    calibration = Calibration("minmax", source, batch=8)
    found = calibration_source(calibration, model, open_data(calibration_data(calibration, model), {}))
    assert isinstance(found, NativeCalibration)
    assert (found.algorithm, found.batch) == ("minmax", 8)
    assert [batch["image"].shape for batch in found.batches] == [(8, 1, 8, 8)] * 3


def test_stored_scales_reach_tensorrt_as_the_file_has_them(place: Path) -> None:

    model = load_model(place / "model.onnx")
    text = (place / "int8.cache").read_text()
    for path in ("int8.cache", "scales.json"):
        found, notes = stored_source(StoredScales(place / path), model, "8.6.1")
        assert isinstance(found, FromCache)
        assert render_cache(found.cache) == text
        assert found.chosen_on[0].count == 24
        assert notes == ()
    ranges, _ = stored_source(StoredScales(place / "scales.json", "ranges"), model, "8.6.1")
    assert isinstance(ranges, FromRanges)
    assert ranges.table.provenance is not None
    freed, _ = stored_source(StoredScales(place / "scales.json", "ranges", of_any_model=True), model, "8.6.1")
    assert isinstance(freed, FromRanges)
    assert freed.table.provenance is None
    assert freed.chosen_on == ranges.table.provenance.chosen_on
    some = text.splitlines(keepends=True)[:4]
    (place / "part.cache").write_text("".join(some))
    _, notes = stored_source(StoredScales(place / "part.cache"), model, "8.6.1")
    assert "have no scale" in notes[0]
    (place / "none.cache").write_text(some[0] + "stranger: 3c010204\n")
    with pytest.raises(InputError, match="for no tensor"):
        stored_source(StoredScales(place / "none.cache"), model, "8.6.1")


def test_a_phase_is_logged_every_ten_seconds_where_stderr_is_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, 5.0, 11.0, 12.0])
    with phases("building", quiet=False, clock=lambda: next(times)) as tell:
        tell("Parsing", 0, 1)
        tell("Tactic Autotuning", 12, 40)
        tell("Finishing", 1, 1)
    assert capsys.readouterr().err == "building, 11 s: Tactic Autotuning, 12 of 40\n"


def test_the_shipped_network_is_built(place: Path) -> None:
    shipped = Path(__file__).parents[2] / "calib_data" / "fashion_net.onnx"
    found = done("build", shipped, "-o", place / "fashion.plan", *RTX, "--json").json
    assert found["card"]["model_name"] == "fashion_net.onnx"
    assert found["card"]["size"] == (place / "fashion.plan").stat().st_size
