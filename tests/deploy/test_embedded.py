"""The embedded bundle: its parts belong together, and its programs build a plan."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from quantlab.calibration.trt_cache import parse_cache, render_cache
from quantlab.deploy.checksums import write_sums
from quantlab.deploy.embedded import Embedded, write_embedded
from quantlab.deploy.plan_programs import c_string, cpp_program, python_program, template
from quantlab.deploy.verify import verify
from quantlab.engines.tensorrt.build_options import BuildOptions, Profile
from quantlab.engines.tensorrt.card import VERSION as CARD_VERSION
from quantlab.engines.tensorrt.plan import read_plan
from quantlab.errors import InputError, StaleError, UsageError
from quantlab.graph.model import load_model
from quantlab.jobs.deployed_parts import Sources, embedded_parts
from quantlab.storage.scale_table_json import read_scale_table, write_scale_table

INT8 = BuildOptions(precision=("int8",))


def parts(place: Path, version: str | None = None) -> Embedded:
    return replace(embedded_parts(Sources(source=place / "run"), version), options=INT8)


def made(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "make_plan.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_run_becomes_a_bundle_with_all_that_a_target_needs(place: Path) -> None:
    done, fresh = write_embedded(place / "bundle", parts(place))
    assert fresh
    assert set(done.files) == {
        "model.onnx", "calibration.cache", "calibration.cache.json", "scales.json", "bundle.json", "README.txt",
        "make_plan.py", "make_plan.cpp", "make_plan.sh",
    }  # fmt: skip
    assert done.bundle.target == "tensorrt 8.6.1"
    assert done.bundle.settings["profiles"] == [{"image": [[1, 1, 8, 8], [32, 1, 8, 8], [32, 1, 8, 8]]}]
    assert "the cache has 8 of the model's tensors" in done.checks
    assert (place / "bundle" / "calibration.cache").read_bytes() == (place / "run" / "calibration.cache").read_bytes()
    assert load_model(place / "bundle" / "model.onnx") == load_model(place / "model.onnx")
    assert str(place) not in "".join(p.read_text(errors="replace") for p in (place / "bundle").iterdir())


def test_the_same_run_gives_the_same_bytes(place: Path) -> None:
    write_embedded(place / "one", parts(place))
    write_embedded(place / "two", parts(place))
    assert (place / "one" / "SHA256SUMS").read_bytes() == (place / "two" / "SHA256SUMS").read_bytes()
    assert not write_embedded(place / "one", parts(place))[1]


def test_for_tensorrt_11_the_bundle_holds_the_qdq_model(place: Path) -> None:
    done, _ = write_embedded(place / "bundle", parts(place, "11.0"))
    assert "calibration.cache" not in done.files
    assert (done.bundle.settings["form"], done.bundle.settings["scales"]) == ("qdq", "Q/DQ")
    script = (place / "bundle" / "make_plan.sh").read_text()
    assert "--int8" not in script
    assert "--calib" not in script
    assert "calibrator" not in (place / "bundle" / "make_plan.cpp").read_text().split("#if CACHE_FORM")[0]


def test_the_shell_program_is_the_command_that_build_emits(place: Path) -> None:
    shapes = Profile({"image": ((1, 1, 8, 8), (4, 1, 8, 8), (8, 1, 8, 8))})
    options = BuildOptions(precision=("fp16", "int8"), profiles=(shapes,), workspace=1 << 30)
    write_embedded(place / "bundle", replace(parts(place), options=options))
    script = (place / "bundle" / "make_plan.sh").read_text()
    for flag in (
        "trtexec --onnx=model.onnx --saveEngine=model.plan", "--fp16 --int8 --calib=calibration.cache",
        "--minShapes=image:1x1x8x8 --optShapes=image:4x1x8x8 --maxShapes=image:8x1x8x8", "--optShapesCalib=image:4x1x8x8",
        "--memPoolSize=workspace:1024",
    ):  # fmt: skip
        assert flag in script
    assert subprocess.run(["sh", "-n", str(place / "bundle" / "make_plan.sh")], check=False).returncode == 0


@pytest.mark.parametrize(
    ("header", "version", "words"),
    [
        ("TRT-8601-MinMaxCalibration", "8.6.1", "caches of EntropyCalibration2 alone"),
        ("TRT-8201-EntropyCalibration2", "8.2.1", "flags of TensorRT 8.2.1's trtexec are not known"),
    ],
)
def test_where_trtexec_cannot_the_other_forms_stay(place: Path, header: str, version: str, words: str) -> None:
    text = (place / "run" / "calibration.cache").read_text()
    (place / "own.cache").write_text("\n".join([header, *text.split("\n")[1:]]))
    done, _ = write_embedded(place / "bundle", replace(parts(place), cache=place / "own.cache", version=version))
    assert "make_plan.sh" not in done.files
    assert any(words in note for note in done.bundle.notes)
    calibrator = "IInt8MinMaxCalibrator" if "MinMax" in header else "IInt8EntropyCalibrator2"
    assert f"#define CALIBRATOR {calibrator}" in (place / "bundle" / "make_plan.cpp").read_text()


def test_a_legacy_cache_takes_its_quantile_into_the_program(place: Path) -> None:
    made_for = write_embedded(place / "b", parts(place))[0].bundle.settings
    settings = {**made_for, "algorithm": "LegacyCalibration"}
    program = cpp_program(settings, "0 3fe0000000000000 3feffcb923a29c78")
    assert "QUANTILE = 0.9996, CUTOFF = 0.5" in program.replace("0.9996000000000001", "0.9996")


def test_a_cache_of_another_major_version_is_refused(place: Path) -> None:
    with pytest.raises(StaleError, match=r"is for TensorRT 8\.6\.1, and the target has 10\.3"):
        write_embedded(place / "bundle", replace(parts(place), version="10.3"))
    with pytest.raises(UsageError, match="11 removed them"):
        write_embedded(place / "bundle", replace(parts(place), version="11.0"))
    with pytest.raises(UsageError, match="needs its calibration cache"):
        write_embedded(place / "bundle", replace(parts(place), cache=None))
    assert not (place / "bundle").exists()


def test_a_cache_and_a_table_that_disagree_are_refused(place: Path) -> None:
    table = read_scale_table(place / "run" / "scales.json")
    first = next(row for row in table.rows if row.role == "activation")
    write_scale_table(place / "own.json", table.with_rows([replace(first, scale=(first.scale[0] * 2,))]))
    with pytest.raises(StaleError, match=r"in the cache and .* in the scale table"):
        write_embedded(place / "bundle", replace(parts(place), scales=place / "own.json"))


def test_an_edited_bundle_is_stale_and_one_put_together_wrongly_too(place: Path) -> None:
    done, _ = write_embedded(place / "bundle", parts(place))
    cache = done.folder / "calibration.cache"
    found = parse_cache(cache.read_text())
    cache.write_text(render_cache(replace(found, scales={f"x{name}": s for name, s in found.scales.items()})))
    with pytest.raises(StaleError, match=r"calibration\.cache' was changed"):
        verify(done.folder)
    write_sums(done.folder)
    with pytest.raises(StaleError, match=r"was changed after .*calibration\.cache\.json' was written"):
        verify(done.folder)
    (done.folder / "calibration.cache.json").unlink()
    write_sums(done.folder)
    with pytest.raises(StaleError, match="no tensor of the model"):
        verify(done.folder)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"image": ((1, 1, 9, 8),) * 3}, "does not fit"),
        ({"other": ((1,),) * 3}, "no input «other»"),
    ],
)
def test_shapes_that_the_network_cannot_have_are_refused(place: Path, shapes: object, words: str) -> None:
    options = replace(INT8, profiles=(Profile(shapes),))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=words):
        write_embedded(place / "bundle", replace(parts(place), options=options))


def test_precisions_that_the_programs_do_not_know_are_refused(place: Path) -> None:
    options = BuildOptions(precision=("int8", "bf16"))
    with pytest.raises(UsageError, match=r"BF16|bf16"):
        write_embedded(place / "bundle", replace(parts(place), options=options))


def test_make_plan_builds_the_plan_with_its_card(place: Path) -> None:
    """By TensorRT for RTX, which builds without a GPU and takes Q/DQ models alone."""
    done, _ = write_embedded(place / "bundle", parts(place, "11.0"))
    ended = made(done.folder, "--library", "tensorrt_rtx")
    assert ended.returncode == 0, ended.stderr
    plan = read_plan(done.folder / "model.plan")
    assert (plan.card.scales, plan.card.model) == ("Q/DQ", done.bundle.model)
    assert plan.card.chosen_on == done.bundle.chosen_on
    assert plan.card.profiles == ({"image": ((1, 1, 8, 8), (32, 1, 8, 8), (32, 1, 8, 8))},)
    assert json.loads((done.folder / "model.plan.json").read_text())["schema_version"] == CARD_VERSION
    assert any("2 files are not the bundle's: model.plan" in note for note in verify(done.folder).notes)


def test_make_plan_refuses_a_changed_file_before_anything_else(place: Path) -> None:
    done, _ = write_embedded(place / "bundle", parts(place))
    (done.folder / "scales.json").write_text("{}")
    ended = made(done.folder)
    assert (ended.returncode, ended.stdout) == (5, "")
    assert ended.stderr == "Error: scales.json was changed after the bundle was made: copy the folder again.\n"
    (done.folder / "scales.json").unlink()
    assert made(done.folder).returncode == 4
    (done.folder / "SHA256SUMS").write_text(f"{'0' * 64}  ../x\n")
    assert "SHA256SUMS is damaged" in made(done.folder).stderr


def test_make_plan_says_what_a_tensorrt_without_caches_needs(place: Path) -> None:
    done, _ = write_embedded(place / "bundle", parts(place))
    ended = made(done.folder, "--library", "tensorrt_rtx")
    assert ended.returncode == 6
    assert "no calibration caches" in ended.stderr
    assert "--tensorrt 11.0" in ended.stderr
    assert not (done.folder / "model.plan").exists()


def test_make_plan_needs_nothing_newer_than_python_36() -> None:
    tree = ast.parse(python_program(), feature_version=(3, 6))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported == {"argparse", "ctypes", "hashlib", "json", "os", "re", "struct", "sys", "time"}
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))


def test_a_c_string_is_the_same_bytes() -> None:
    assert c_string('a"\\\n?ü') == '"a\\042\\134\\012\\077\\303\\274"'
    assert "@SETTINGS@" in template("make_plan.cpp")


def test_what_the_cpp_program_is_told_compiles(place: Path, tmp_path: Path) -> None:
    """All of it needs TensorRT's headers: `tests.gpu.deploying` compiles and runs it."""
    write_embedded(place / "bundle", parts(place))
    program = (place / "bundle" / "make_plan.cpp").read_text()
    settings = program.split("written by quantlab.\n")[1].split("#if CACHE_FORM")[0]
    source = tmp_path / "settings.cpp"
    source.write_text(
        f"#include <map>\n#include <string>\n#include <vector>\n{settings}\n"
        'int main() { return PROFILES.at(0).at("image").best.at(0) + INT8 + FP16 - 33; }\n'
    )
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    done = subprocess.run(
        [compiler, "-std=c++14", str(source), "-o", str(tmp_path / "settings")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert subprocess.run([str(tmp_path / "settings")], check=False).returncode == 0


def test_without_a_table_the_bundle_has_the_caches_own(place: Path) -> None:
    write_embedded(place / "bundle", replace(parts(place), scales=None))
    found = read_scale_table(place / "bundle" / "scales.json")
    cache = parse_cache((place / "run" / "calibration.cache").read_text())
    assert {row.tensor: row.scale[0] for row in found.rows} == cache.scales


def test_another_models_scales_are_refused(place: Path) -> None:
    (place / "run" / "calibration.cache").rename(place / "own.cache")
    (place / "run" / "calibration.cache.json").rename(place / "own.cache.json")
    sources = Sources(source=place / "other.onnx", cache=place / "own.cache")
    with pytest.raises(StaleError, match=r"was made for the model «model\.onnx»"):
        embedded_parts(sources, None)
    (place / "own.cache.json").unlink()
    with pytest.raises(StaleError, match=r"other\.onnx"):
        embedded_parts(replace(sources, scales=place / "run" / "scales.json"), None)
    with pytest.raises(InputError, match="is not a calibration cache"):
        embedded_parts(replace(sources, cache=place / "model.onnx"), None)
