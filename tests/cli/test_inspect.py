"""`quantlab inspect plan`, on recorded and hand-written reports."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from quantlab.audit.inspector import parse_inspector
from quantlab.calibration.provenance import Provenance
from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.engines.tensorrt.plan import Plan, digest_of
from quantlab.jobs.layer_times import of_profile, times_path
from quantlab.storage.scale_table_json import write_scale_table
from tests.audit.networks import residual_net
from tests.audit.reports import CACHE, EXPLICIT, FP16, GOLDEN, IMPLICIT, QDQ, recorded
from tests.audit.test_audit import ENGINE
from tests.cli.workplace import done, quantlab, refused
from tests.engines.tensorrt.test_plan import CARD


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "layers.json").write_text(ENGINE)
    onnx.save(residual_net(), tmp_path / "model.onnx")
    (tmp_path / "scales.cache").write_text(
        "TRT-8600-EntropyCalibration2\n" + "".join(f"{t}: 3c010204\n" for t in ("image", "a", "b", "c", "d", "e", "y"))
    )
    return tmp_path


def test_layers_tensors_and_findings_are_shown(place: Path) -> None:
    model, scales = place / "model.onnx", place / "scales.cache"
    out = done("inspect", "plan", place / "layers.json", "--model", model, "--scales", scales).out
    assert "c1 + PWN(r1)" in out
    assert "MACs %" in out
    assert "no-kernel" in out
    assert "6 layers: 2 in INT8, 2 in FP32; copies between formats: 2" in out
    assert "time %" not in out


def test_json_holds_the_audit(place: Path) -> None:
    shown = done("inspect", "plan", place / "layers.json", "--model", place / "model.onnx", "--json").json
    assert shown["counts"] == {"INT8": 2, "FP32": 2}
    assert shown["audit"]["schema"] == "quantlab-audit"
    assert shown["difference"] is None


def test_a_plan_is_known_by_what_lies_beside_it(place: Path) -> None:
    (place / "net.plan").write_bytes(b"\x00plan")
    shutil.move(place / "layers.json", place / "net.plan.layers.json")
    (place / "net.plan.profile.json").write_text('{"c3": 2.0, "soft": 6.0}')
    for name in ("net.plan", "net.plan.layers.json"):
        shown = done("inspect", "plan", place / name, "--json").json
        assert shown["times"] == {"FP32": 8.0}
    assert "time %" in done("inspect", "plan", place / "net.plan").out


def test_the_report_of_another_plan_is_refused(place: Path) -> None:
    text = (place / "layers.json").read_text()
    plan = Plan(b"plan", replace(CARD, digest=digest_of(b"plan"), layers_digest=digest_of(text.encode())), text)
    plan.save(place / "net.plan")
    done("inspect", "plan", place / "net.plan")
    layers = place / "net.plan.layers.json"
    layers.write_text(text.replace("c3", "c9"))
    assert "is not what TensorRT's engine inspector said" in refused(5, "inspect", "plan", place / "net.plan")
    packed = layers.with_name(f"{layers.name}.gz")
    packed.write_bytes(gzip.compress(text.encode()))
    layers.unlink()
    done("inspect", "plan", place / "net.plan")


def test_layer_times_of_every_profile_are_found(tmp_path: Path) -> None:
    text = recorded(FP16)
    report = tmp_path / "net.plan.layers.json"
    report.write_text(text)
    times: dict[str, float] = {}
    for number in range(3):
        names = [one.name for one in parse_inspector(text, profile=number).layers]
        raw = names if number < 2 else [f"{name} [profile 2]" for name in names]  # TensorRT may mark them itself
        times |= of_profile(dict.fromkeys(raw, number + 1.0), number)
    times_path(tmp_path / "net.plan").write_text(json.dumps(times))
    first = done("inspect", "plan", report, "--json").json
    assert {row["milliseconds"] for row in first["audit"]["layers"]} == {1.0}
    for number in range(3):
        shown = done("inspect", "plan", report, "--optimization-profile", number, "--json").json
        assert {row["milliseconds"] for row in shown["audit"]["layers"]} == {number + 1.0}


def test_recorded_engines_are_compared() -> None:
    first, second = (GOLDEN / f"{name}.inspector.json.gz" for name in (IMPLICIT, EXPLICIT))
    ended = done("inspect", "plan", first, "--against", second)
    assert "/_blocks.14/_project_conv/Conv, /_blocks.14/Add" in ended.out
    assert "53 and 64 layers: 9 groups of nodes are fused differently, 1 run in another precision" in ended.out
    shown = done("inspect", "plan", first, "--against", second, "--json").json
    assert shown["difference"]["layers"] == [53, 64]


def test_the_nodes_that_make_the_difference_are_told_with_their_times() -> None:
    first, second = (GOLDEN / f"{name}.inspector.json.gz" for name in (CACHE, QDQ))
    one, two = (GOLDEN / f"{name}.b128.times.json.gz" for name in (CACHE, QDQ))
    arguments = ("inspect", "plan", first, "--against", second, "--profile", one, "--against-profile", two)
    out = done(*arguments).out
    assert "53 layers in optimization profile 2 of 3: 51 in INT8" in out
    assert "«/_swish_1/Clip_output_0_DequantizeLinear» +0.0310 ms, «/_fc/Gemm» +0.0117 ms" in out
    shown = done(*arguments, "--json").json
    assert shown["difference"]["gains"][0]["place"] == "/_swish_1/Clip_output_0_DequantizeLinear"


def test_an_optimization_profile_is_chosen() -> None:
    report = GOLDEN / f"{FP16}.inspector.json.gz"
    for number, counts in ((0, {"FP32": 18, "FP16": 33}), (2, {"FP16": 51})):
        shown = done("inspect", "plan", report, "--optimization-profile", number, "--json").json
        assert shown["counts"] == counts
    error = refused(2, "inspect", "plan", report, "--optimization-profile", 3)
    assert "no optimization profile 3: it has 0, 1, 2" in error


def test_a_time_for_no_engine_is_refused(place: Path) -> None:
    error = refused(2, "inspect", "plan", place / "layers.json", "--against-profile", place / "layers.json")
    assert "--against" in error


def test_of_several_files_the_bad_one_is_named(place: Path) -> None:
    bad = spoilt("times.json", b"[]", place)
    layers = place / "layers.json"
    assert "times.json'" in refused(4, "inspect", "plan", layers, "--against", layers, "--against-profile", bad)
    assert "o.json'" in refused(4, "inspect", "plan", layers, "--against", spoilt("o.json", b"{}", place))


def test_quiet_prints_nothing(place: Path) -> None:
    assert done("inspect", "plan", place / "layers.json", "-q").out == ""


def test_odd_names_change_nothing_in_the_terminal(tmp_path: Path) -> None:
    text = json.dumps({"Layers": [{"Name": "[red]\x1b[31m\ud800", "LayerType": "<b>"}]})
    (tmp_path / "odd.json").write_text(text)
    ended = done("inspect", "plan", tmp_path / "odd.json")
    assert "\x1b" not in ended.out
    assert "[red]" in ended.out
    assert quantlab("inspect", "plan", tmp_path / "odd.json", "--json").code == 0


def spoilt(name: str, data: bytes, folder: Path) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("a.json", b"", "must be JSON"),
        ("a.json", b"\xff\xfe", "no UTF-8"),
        ("a.json", b"[" * 100_000, "must be JSON"),
        ("a.json", b'{"Layers": ["a"]}', "names only"),
        ("a.json", b'{"layers": 3}', "no list of «Layers»"),
        ("a.json.gz", b"no gzip", "cannot be unpacked"),
        ("a.json.gz", gzip.compress(recorded(IMPLICIT).encode())[:200], "cannot be unpacked"),
        ("a.json.gz", gzip.compress(b"\xff"), "cannot be unpacked"),
        ("a.plan", b"plan", "no 'a.plan.layers.json' beside it"),
    ],
)
def test_a_bad_report_is_one_sentence(name: str, data: bytes, sentence: str, tmp_path: Path) -> None:
    assert sentence in refused(4, "inspect", "plan", spoilt(name, data, tmp_path))


def test_bad_companions_are_one_sentence(place: Path) -> None:
    layers = place / "layers.json"
    assert "no file" in refused(4, "inspect", "plan", place / "none.json")
    assert "no file" in refused(4, "inspect", "plan", place / "none.plan")
    assert "folder" in refused(4, "inspect", "plan", place)
    assert "not an ONNX model" in refused(4, "inspect", "plan", layers, "--model", layers)
    assert "profile" in refused(4, "inspect", "plan", layers, "--profile", spoilt("p.json", b"[]", place))
    assert "profile" in refused(4, "inspect", "plan", layers, "--profile", spoilt("p.json", b'{"c3": "x"}', place))
    assert "Layers" in refused(4, "inspect", "plan", layers, "--against", spoilt("o.json", b"{}", place))
    assert "cache" in refused(4, "inspect", "plan", layers, "--scales", spoilt("s.cache", b"x", place))


def test_another_models_engine_is_stale(place: Path) -> None:
    report = GOLDEN / f"{IMPLICIT}.inspector.json.gz"
    assert "another model" in refused(5, "inspect", "plan", report, "--model", place / "model.onnx")


def test_wrong_usage_is_told() -> None:
    assert quantlab("inspect", "plan").code == 2
    assert quantlab("inspect", "engine").code == 2


def test_two_engines_are_compared_at_the_profile_that_is_timed() -> None:
    first, second = (GOLDEN / f"{name}.inspector.json.gz" for name in (CACHE, QDQ))
    one, two = (GOLDEN / f"{name}.b128.times.json.gz" for name in (CACHE, QDQ))
    arguments = ("inspect", "plan", first, "--against", second, "--json")
    both = [
        done(*arguments, *more).json["difference"]["groups"]
        for more in (("--profile", one), ("--against-profile", two))
    ]
    named = [[group["nodes"] for group in groups] for groups in both]
    assert named[0] == named[1]
    assert done(*arguments, "--against-profile", two).json["audit"]["profile"] == 2


def test_a_table_of_another_model_is_stale(place: Path) -> None:
    row = Scale("image", (0.5,))
    other = Provenance("sha256:0", "other.onnx", (), {}, "log-linear")
    write_scale_table(place / "scales.json", ScaleTable((row,), other))
    arguments = (
        "inspect",
        "plan",
        place / "layers.json",
        "--model",
        place / "model.onnx",
        "--scales",
        place / "scales.json",
    )
    assert "were made for «other.onnx»" in refused(5, *arguments)
