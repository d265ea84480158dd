"""`quantlab cache`: lint, diff, rename, merge, retarget and convert, with their exit codes."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import onnx
import pytest

from quantlab.cli.main import main  # noqa: F401 - the commands under test
from tests.caches.exports import exported_again
from tests.cli.workplace import done, quantlab, refused


def edited(path: Path, old: str, new: str, name: str = "edited.cache") -> Path:
    """Write a copy of a cache with one text replaced, without its sidecar."""
    copy = path.with_name(name)
    text = path.read_text()
    assert old in text
    copy.write_text(text.replace(old, new, 1))
    return copy


def scale_line(path: Path, tensor: str) -> str:
    """Return the cache's line of a tensor."""
    return next(line for line in path.read_text().splitlines() if line.startswith(f"{tensor}: "))


@pytest.mark.parametrize("command", ["lint", "diff", "rename", "merge", "retarget", "convert"])
def test_every_command_of_the_group_has_examples_and_exit_codes(command: str) -> None:
    shown = done("cache", command, "--help").out
    assert f"quantlab cache {command} " in shown
    assert "Examples:" in shown
    assert "Exit codes:" in shown


def test_a_sound_cache_passes_even_strictly(place: Path) -> None:
    arguments = ("--model", place / "model.onnx", "--histograms", place / "histograms.h5", "--tensorrt", "8.6.1")
    shown = done("cache", "lint", place / "int8.cache", *arguments, "--strict", "--json").json
    assert shown["passed"] is True
    assert shown["counts"]["error"] == shown["counts"]["warning"] == 0
    assert shown["made_by"]["algorithm"]


def test_planted_faults_end_with_exit_code_1(place: Path) -> None:
    cache = place / "int8.cache"
    zero = edited(cache, scale_line(cache, "logits"), "logits: 00000000")
    ended = quantlab("cache", "lint", zero, "--json")
    assert (ended.code, ended.json["passed"]) == (1, False)
    assert [(f["rule"], f["tensor"]) for f in ended.json["findings"] if f["severity"] == "error"] == [
        ("zero", "logits")
    ]
    missing = edited(cache, scale_line(cache, "b") + "\n", "")
    assert quantlab("cache", "lint", missing, "--model", place / "model.onnx").code == 1
    assert done("cache", "lint", missing, "--model", place / "model.onnx", "--allow-missing")
    conflict = edited(cache, scale_line(cache, "f"), "f: 3f800000")
    assert quantlab("cache", "lint", conflict, "--model", place / "model.onnx").code == 1
    digits = scale_line(cache, "f")[-8:]
    slight = edited(cache, f"f: {digits}", f"f: {int(digits, 16) + 0x20000:08x}")  # 1.6 to 3.1 % more
    assert done("cache", "lint", slight, "--model", place / "model.onnx")
    assert quantlab("cache", "lint", slight, "--model", place / "model.onnx", "--strict").code == 1
    assert done("cache", "lint", cache, "--model", place / "model.onnx", "--tensorrt", "tensorrt@8.6", "--dla")


def test_the_header_is_checked_against_target_and_calibrator(place: Path) -> None:
    cache = place / "int8.cache"
    assert quantlab("cache", "lint", cache, "--tensorrt", "10.3.0").code == 1
    assert quantlab("cache", "lint", cache, "--tensorrt", "11.0").code == 1
    assert quantlab("cache", "lint", cache, "--algorithm", "MinMaxCalibration").code == 1
    assert "Unknown calibrator" in refused(2, "cache", "lint", cache, "--algorithm", "Best")
    assert "no TensorRT calibration cache" in refused(4, "cache", "lint", place / "scales.json")


def test_lint_reads_what_the_sidecar_says(place: Path) -> None:
    cache = place / "int8.cache"
    ended = quantlab("cache", "lint", cache, "--model", place / "other.onnx", "--json")
    assert ("other-model", "error") in {(f["rule"], f["severity"]) for f in ended.json["findings"]}
    cache.write_text(cache.read_text().replace(scale_line(cache, "b"), "b: 40000000"))
    ended = quantlab("cache", "lint", cache, "--json")
    assert ended.code == 1
    assert [f["rule"] for f in ended.json["findings"] if f["severity"] == "error"] == ["edited"]
    cache.with_name("int8.cache.json").write_text("{}")
    ended = quantlab("cache", "lint", cache, "--json")
    assert (ended.code, [f["rule"] for f in ended.json["findings"] if f["severity"] == "warning"]) == (0, ["sidecar"])


def test_no_input_and_no_strangers_file_is_replaced(place: Path) -> None:
    table, foreign = place / "s.cache.json", place / "t.cache.json"
    table.write_bytes((place / "scales.json").read_bytes())
    foreign.write_text('{"mine": 1}')
    model = ("--model", place / "model.onnx")
    assert "also an input" in refused(2, "cache", "convert", table, *model, "-o", place / "s.cache", "--force")
    retarget = ("cache", "retarget", place / "int8.cache", "--tensorrt", "10.3.0", "--force", "-o")
    assert "sidecar" in refused(4, *retarget, place / "t.cache")
    assert table.exists()
    assert foreign.read_text() == '{"mine": 1}'
    (place / "sub").mkdir()
    (place / "link.cache").symlink_to(place / "int8.cache")
    for alias in (place / "sub" / ".." / "int8.cache", place / "link.cache"):
        assert "also an input" in refused(2, *retarget, alias)
    assert "place of the cache's sidecar" in refused(
        2, "cache", "convert", place / "int8.cache", "-o", place / "int8.cache.json", "--force"
    )


def test_diff_sorts_by_harm_where_values_were_counted(place: Path) -> None:
    cache = place / "int8.cache"
    other = edited(cache, scale_line(cache, "b"), "b: 40000000")
    ended = quantlab("cache", "diff", cache, other, "--histograms", place / "histograms.h5", "--json")
    assert ended.code == 1
    (harm,) = ended.json["harm"]
    assert harm["tensor"] == "b"
    assert harm["lost_db"] > 10
    assert quantlab("cache", "diff", cache, other, "--histograms", place / "histograms.h5", "--loss", "500").code == 0
    assert "lost dB" in quantlab("cache", "diff", cache, other, "--histograms", place / "histograms.h5").out


def test_diff_holds_a_cache_against_histograms(place: Path) -> None:
    cache = place / "int8.cache"
    assert done("cache", "diff", cache, place / "histograms.h5", "--loss", "60").code == 0
    other = edited(cache, scale_line(cache, "b"), "b: 40000000")
    ended = quantlab("cache", "diff", other, place / "histograms.h5", "--json")
    assert ended.code == 1
    assert "b" in ended.json["changed"]
    assert "Give the cache first" in refused(2, "cache", "diff", place / "histograms.h5", cache)


def test_rename_follows_the_network_and_keeps_the_sidecar_true(place: Path) -> None:
    proto, names = exported_again(onnx.load(place / "model.onnx"), random.Random(0))
    onnx.save(proto, place / "again.onnx")
    arguments = ("--from", place / "model.onnx", "--to", place / "again.onnx", "-o", place / "again.cache")
    shown = done("cache", "rename", place / "int8.cache", *arguments, "--map", place / "names.csv", "--json").json
    assert shown["map"]["b"] == names["b"]
    assert shown["ambiguous"] == {}
    rows = list(csv.DictReader((place / "names.csv").read_text().splitlines()))
    assert {row["old"]: row["new"] for row in rows}["b"] == names["b"]
    assert done(
        "cache", "convert", place / "again.cache", "--model", place / "again.onnx", "-o", place / "again.int8.onnx"
    )
    sidecar = json.loads((place / "again.cache.json").read_text())
    assert "renamed from" in sidecar["provenance"]["versions"]
    assert "is current" in done("cache", "rename", place / "int8.cache", *arguments).out
    assert "not for the old model" in refused(
        4, "cache", "rename", place / "int8.cache", "--from", place / "other.onnx", "--to", place / "again.onnx", "-o",
        place / "x.cache",
    )  # fmt: skip


def test_merge_lists_conflicts(place: Path) -> None:
    cache = place / "int8.cache"
    other = edited(cache, scale_line(cache, "b"), "b: 40000000")
    assert "several scales" in refused(4, "cache", "merge", cache, other, "-o", place / "all.cache")
    shown = done("cache", "merge", cache, other, "--policy", "max", "-o", place / "all.cache", "--json").json
    assert shown["conflicts"]["b"]["kept"] == 2.0
    assert scale_line(place / "all.cache", "b") == "b: 40000000"
    assert "refuse, max, first" in refused(
        2, "cache", "merge", cache, other, "--policy", "min", "-o", place / "y.cache"
    )
    newer = edited(cache, "TRT-8601-", "TRT-100300-", "newer.cache")
    notes = done("cache", "merge", cache, newer, "-o", place / "both.cache", "--json").json["notes"]
    assert any("headers differ" in note for note in notes)
    assert (place / "both.cache").read_text().startswith("TRT-8601-")


def test_retarget_changes_the_header_alone_and_the_sidecar_stays_true(place: Path) -> None:
    cache, new = place / "int8.cache", place / "trt10.cache"
    done("cache", "retarget", cache, "--tensorrt", "10.3.0", "-o", new)
    assert new.read_text().splitlines()[0] == "TRT-100300-EntropyCalibration2"
    assert new.read_text().splitlines()[1:] == cache.read_text().splitlines()[1:]
    assert done("cache", "convert", new, "--model", place / "model.onnx", "-o", place / "x.onnx")
    assert "cache convert" in refused(2, "cache", "retarget", cache, "--tensorrt", "11.0.0", "-o", place / "y.cache")
    assert "--tensorrt VERSION" in refused(2, "cache", "retarget", cache, "-o", place / "y.cache")
    edit = cache.read_text()
    cache.write_text(edit.replace(scale_line(cache, "b"), "b: 40000000"))
    assert "was changed after" in refused(
        5, "cache", "retarget", cache, "--tensorrt", "10.0.1", "-o", place / "z.cache"
    )


def test_there_and_back_gives_the_same_bytes(place: Path) -> None:
    cache, model = place / "int8.cache", place / "model.onnx"
    shown = done(
        "cache", "convert", cache, "--model", model, "--target", "tensorrt@11.0", "-o", place / "q.onnx", "--check", 2,
        "--json",
    ).json  # fmt: skip
    assert shown["scales"]["other"] == {}
    assert shown["roads"]["same_bits"] == 1.0
    assert shown["coverage"]["lost"] == len(shown["coverage"]["only_implicit"]) > 0
    back = ("cache", "convert", place / "q.onnx", "--plain", place / "plain.onnx", "-o", place / "back.cache")
    shown = done(*back, "--model", model, "--check", 2, "--json").json
    assert shown["roads"]["same_bits"] == 1.0
    assert (place / "back.cache").read_text() == cache.read_text()
    assert json.loads((place / "back.cache.json").read_text())["provenance"]["model_name"] == "plain.onnx"
    assert done("cache", "convert", place / "back.cache", "--model", place / "plain.onnx", "-o", place / "r.onnx")
    text = done("cache", "convert", cache, "--model", model, "-o", place / "s.onnx").out
    assert "bit for bit" in text
    assert "implicit quantization may run" in text


def test_the_way_back_keeps_the_header_unless_another_is_named(place: Path) -> None:
    cache, model = place / "minmax.cache", place / "model.onnx"
    done(
        "cache",
        "retarget",
        place / "int8.cache",
        "--tensorrt",
        "10.3.0",
        "--algorithm",
        "MinMaxCalibration",
        "-o",
        cache,
    )
    done("cache", "convert", cache, "--model", model, "-o", place / "q.onnx")
    back = ("cache", "convert", place / "q.onnx", "--plain", place / "p.onnx", "-o", place / "back.cache", "--force")
    done(*back)
    assert (place / "back.cache").read_bytes() == cache.read_bytes()
    done(*back, "--tensorrt", "8.5.3")
    assert (place / "back.cache").read_text().startswith("TRT-8503-MinMaxCalibration\n")
    done("cache", "convert", place / "int8.onnx", "--plain", place / "p.onnx", "-o", place / "own.cache", "--force")
    assert (place / "own.cache").read_text().startswith("TRT-8601-EntropyCalibration2\n")


def test_conversions_that_mean_nothing_are_refused(place: Path) -> None:
    cache, model = place / "int8.cache", place / "model.onnx"
    assert "--plain" in refused(2, "cache", "convert", place / "int8.onnx", "-o", place / "x.cache")
    assert "no Q/DQ" in refused(4, "cache", "convert", model, "--plain", place / "p.onnx", "-o", place / "x.cache")
    assert "source with Q/DQ" in refused(
        2, "cache", "convert", cache, "--plain", place / "p.onnx", "-o", place / "x.json"
    )
    assert "--check" in refused(2, "cache", "convert", cache, "--check", 2, "-o", place / "x.json")
    assert "as the output" in refused(
        2, "cache", "convert", cache, "--model", model, "--tensorrt", "8.6.1", "-o", place / "x.onnx"
    )
    assert "--plain" in refused(2, "cache", "convert", place / "int8.onnx", "--check", 2, "-o", place / "x.json")
    assert not (place / "x.json").exists()
    assert "not on both" in refused(
        2, "cache", "convert", cache, "--model", model, "--check", 2, "-d", place / "tuning.npz", "-o", place / "x.onnx"
    )
