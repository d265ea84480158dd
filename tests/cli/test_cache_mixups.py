"""`quantlab cache` given the wrong files: another network's, swapped, of another kind; and what it prints in a log."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from quantlab.cli.main import main  # noqa: F401 - the commands under test
from tests.caches.networks import SCALES, joined
from tests.cli.workplace import done, quantlab, refused

HEADER = "TRT-8601-EntropyCalibration2\n"


@pytest.fixture
def foreign(place: Path) -> Path:
    """The cache of another network, that shares the names «image» and «logits» alone; the network is beside it."""
    onnx.save(joined(), place / "joined.onnx")
    lines = "".join(f"{tensor}: 3c0102{i:02x}\n" for i, tensor in enumerate(SCALES))
    (place / "joined.cache").write_text(HEADER + lines)
    return place / "joined.cache"


def part(place: Path, name: str, *tensors: str) -> Path:
    """Write the lines of some tensors as a cache of its own, without a sidecar."""
    lines = [x for x in (place / "int8.cache").read_text().splitlines() if x.rpartition(": ")[0] in tensors]
    (place / name).write_text(HEADER + "".join(f"{line}\n" for line in lines))
    return place / name


@pytest.mark.parametrize("policy", ["refuse", "max"])
def test_caches_of_two_networks_are_not_merged_whatever_the_policy(place: Path, foreign: Path, policy: str) -> None:
    merge = ("cache", "merge", place / "int8.cache", foreign, "-o", place / "all.cache", "--policy", policy)
    said = refused(4, *merge)
    assert "2 of 16 and 8 tensors" in said
    assert "different networks" in said
    assert "has 2 of the 8 tensors of «model.onnx»" in refused(4, *merge, "--model", place / "model.onnx")
    assert not (place / "all.cache").exists()


def test_parts_of_one_network_are_merged_where_the_model_or_the_user_says_so(place: Path) -> None:
    head, tail = part(place, "head.cache", "image", "a", "b"), part(place, "tail.cache", "e", "f", "logits")
    merge = ("cache", "merge", head, tail, "-o")
    assert "--parts" in refused(4, *merge, place / "x.cache")
    assert done(*merge, place / "x.cache", "--model", place / "model.onnx", "--json").json["tensors"] == 6
    assert "6 tensors, 0 conflicts." in done(*merge, place / "y.cache", "--parts").out
    assert (place / "x.cache").read_bytes() == (place / "y.cache").read_bytes()


def test_a_conflict_is_one_and_not_ones(place: Path) -> None:
    other = part(place, "other.cache", "image", "a", "b")
    other.write_text(other.read_text().replace(other.read_text()[-9:-1], "40000000"))
    (place / "int8.cache.json").unlink()
    merge = ("cache", "merge", place / "int8.cache", other, "-o", place / "all.cache")
    assert "1 tensor with several scales" in refused(4, *merge)
    assert "8 tensors, 1 conflict." in done(*merge, "--policy", "max").out


def test_models_swapped_in_rename_are_noticed_and_no_empty_cache_is_written(place: Path, foreign: Path) -> None:
    to = ("-o", place / "x.cache", "--partial")
    swapped = ("cache", "rename", foreign, "--from", place / "model.onnx", "--to", place / "joined.onnx")
    assert "2 of the 8 tensors of the old model, --from: are --from and --to swapped?" in refused(4, *swapped, *to)
    strange = ("cache", "rename", foreign, "--from", place / "model.onnx", "--to", place / "other.onnx")
    assert "made for another model" in refused(4, *strange, *to)
    onnx.save(onnx.parser.parse_model(UNLIKE), place / "unlike.onnx")
    nothing = ("cache", "rename", foreign, "--from", place / "joined.onnx", "--to", place / "unlike.onnx")
    assert "None of the 16 tensors of the cache is told in «unlike.onnx»" in refused(4, *nothing, *to)
    assert not (place / "x.cache").exists()


@pytest.mark.parametrize("output", ["x.onnx", "x.cache", "x.json"])
def test_the_cache_of_another_model_is_called_so_and_not_incomplete(place: Path, foreign: Path, output: str) -> None:
    convert = ("cache", "convert", foreign, "--model", place / "model.onnx", "-o", place / output)
    assert "it is the cache of another model" in refused(4, *convert)
    if output != "x.json":
        assert "it is the cache of another model" in refused(4, *convert, "--allow-missing")


@pytest.mark.parametrize("output", ["x.onnx", "x.cache"])
def test_one_flag_lets_tensors_without_a_scale_stay_float(place: Path, output: str) -> None:
    short = part(place, "short.cache", "image", "a", "b", "c", "d")
    convert = ("cache", "convert", short, "--model", place / "model.onnx", "-o", place / output, "--head", "int8")
    assert "--allow-missing" in refused(4, *convert)
    assert done(*convert, "--allow-missing")


def test_an_output_of_no_known_kind_is_refused(place: Path) -> None:
    assert "«.onx»" in refused(2, "cache", "convert", place / "int8.cache", "-o", place / "x.onx")
    merge = ("cache", "merge", place / "int8.cache", "-o", place / "x.onnx")
    assert "x.cache" in refused(2, *merge)
    for name in ("calib.bin", "CalibrationTable"):  # DeepStream's and ONNX Runtime's names
        assert done("cache", "convert", place / "scales.json", "--model", place / "model.onnx", "-o", place / name)


def test_diff_says_what_it_cannot_compare(place: Path, foreign: Path) -> None:
    cache, counts = place / "int8.cache", place / "histograms.h5"
    assert "give --histograms" in refused(2, "cache", "diff", cache, cache, "--loss", 1)
    assert "both histograms" in refused(2, "cache", "diff", counts, counts)
    ended = quantlab("cache", "diff", cache, foreign)
    assert ended.code == 1
    assert "different models" in ended.out
    assert "«sumr» and 2 more" in ended.out
    assert quantlab("cache", "diff", cache, foreign, "--json").json["related"] is False
    assert done("cache", "diff", cache, cache, "--json").json["related"] is True


def test_deploy_and_lint_advise_what_the_mismatch_needs(place: Path) -> None:
    cache, model = place / "int8.cache", place / "model.onnx"
    said = refused(5, "deploy", "embedded", model, "--cache", cache, "--tensorrt", "10.3", "-o", place / "bundle")
    assert "quantlab cache retarget CACHE --tensorrt 10.3 -o OUTPUT" in said
    ended = quantlab("cache", "lint", cache, "--tensorrt", "10.3", "--json")
    (fault,) = [f for f in ended.json["findings"] if f["severity"] == "error"]
    assert "quantlab cache retarget --tensorrt 10.3" in fault["fix"]
    done("cache", "retarget", cache, "--tensorrt", "10.3", "-o", place / "ten.cache")
    assert done("cache", "lint", place / "ten.cache", "--tensorrt", "10.3")


def test_a_log_has_the_width_that_it_asks_for_and_no_padding(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lint = ("cache", "lint", place / "int8.cache", "--tensorrt", "10.3")
    monkeypatch.delenv("COLUMNS", raising=False)
    wide = quantlab(*lint).out.splitlines()
    assert all(line == line.rstrip() for line in wide)
    monkeypatch.setenv("COLUMNS", "80")
    table = [line for line in quantlab(*lint).out.splitlines() if "┃" in line or "│" in line]
    assert len(table) > 2
    assert all(len(line) <= 80 for line in table)
    monkeypatch.setenv("COLUMNS", "none")
    assert quantlab(*lint).out.splitlines() == wide


UNLIKE = """
<ir_version: 8, opset_import: ["" : 17]>
unlike (float[2,3] one) => (float[2,3] two) {
  two = Tan (one)
}
"""
