"""`quantlab tune`: what it prints, writes and refuses, and how it goes on after an interrupt."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.cli.workplace import DECLARED, done, quantlab, refused, tree

FILES = ("model.int8.onnx", "prepared.onnx", "scales.json", "tune.json", "trials.csv")
FIDELITY = """
def same(fp32, int8):
    print("a word of the user's own")
    return (fp32["logits"].argmax(1) == int8["logits"].argmax(1)).astype(float)
def single(fp32):
    return [1.0]
def short(fp32, int8):
    return [[1.0, 2.0]]
def broken(fp32, int8):
    return fp32["nothing"]
"""


def asked(place: Path, *more: object) -> tuple[object, ...]:
    return ("tune", place / "model.onnx", "-d", place / "calibration.npz", *DECLARED, "-o", place / "run", *more)


def trials(folder: Path) -> list[dict[str, str]]:
    """Return the table of a search, but for its times."""
    with (folder / "trials.csv").open(encoding="utf-8") as file:
        return [{name: cell for name, cell in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def test_a_target_that_holds_ends_with_0_and_five_files_that_other_commands_take(place: Path) -> None:
    sets = ("--tuning", place / "tuning.npz", "--evaluation", place / "evaluation.npz")
    ended = done(*asked(place, *sets, "--max-drop", "100"))
    assert ended.out.splitlines()[0].startswith("thresholds ")
    assert "on 40 samples that chose nothing: what was asked (at most 100 points lost) holds." in ended.out
    assert all(f"{name} written." in ended.out and (place / "run" / name).is_file() for name in FILES)
    data = ("-d", place / "evaluation.npz", *DECLARED)
    compared = done("compare", place / "model.onnx", place / "run/model.int8.onnx", *data, "-o", place / "compare.json")
    assert "not final" not in compared.out
    used = ("-d", place / "tuning.npz", *DECLARED, "-o", place / "again.json")
    assert "was used to choose" in refused(4, "compare", place / "model.onnx", place / "run/model.int8.onnx", *used)


def test_a_target_that_is_missed_ends_with_1_and_still_writes_the_best(place: Path) -> None:
    ended = quantlab(*asked(place, "--max-drop", "none", "--min-sqnr", "300", "--rung", "weights"))
    assert ended.code == 1
    assert "SQNR ≥ 300 dB) is missed" in ended.out
    assert all((place / "run" / name).is_file() for name in FILES)


def test_json_is_one_object_whatever_a_fidelity_prints(place: Path) -> None:
    (place / "boxes.py").write_text(FIDELITY)
    compared = ("--max-drop", "none", "--min-fidelity", "0.1", "--fidelity", f"{place / 'boxes.py'}:same")
    found = done(*asked(place, *compared, "--json")).json
    assert (found["standing"], found["notes"]) == ("holds", [])
    assert found["score"]["fidelity"] > 0.1
    assert sorted(found["files"]) == sorted(FILES)
    stored = json.loads((place / "run/tune.json").read_text())
    assert stored == {name: value for name, value in found.items() if name not in ("files", "notes")}


def test_quiet_prints_nothing(place: Path) -> None:
    ended = done(*asked(place, "--max-drop", "100", "--quiet"))
    assert (ended.out, ended.err) == ("", "")


def test_random_numbers_are_said_to_be_no_data(place: Path) -> None:
    target = ("--max-drop", "none", "--min-sqnr", "1", "--rung", "thresholds")
    ended = done("tune", place / "model.onnx", "--random", 8, "-o", place / "run", *target)
    assert "calibrated on random data" in ended.err


@pytest.mark.parametrize(
    ("code", "arguments", "words"),
    [
        (2, ("--max-drop", "abc"), "or none, not «abc»"),
        (2, ("--max-drop", "inf"), "or none, not «inf»"),
        (2, ("--max-drop", "-1"), "at least 0, not -1"),
        (2, ("--min-agreement", "2"), "a share from 0 to 1, not 2"),
        (2, ("--confidence", "95"), "lies between 0 and 1"),
        (2, ("--min-fidelity", "0.9"), "--fidelity FILE.py:FUNCTION"),
        (2, ("--rung", "magic"), "There is no rung «magic»"),
        (2, ("--target", "tpu"), "Unknown target"),
        (2, ("--target", "tensorrt@99.0"), "known up to"),
        (2, ("-o", "@model.onnx"), "is a file"),
        (4, ("--fidelity", "gone.py:f"), "'gone.py' is no file"),
        (4, ("--fidelity", "@boxes.py:gone"), "has no function «gone»"),
        (4, ("--fidelity", "@boxes.py:single"), "does not take two arguments"),
        (4, ("--tuning", "gone.npz"), "gone.npz"),
        (4, ("--evaluation", "@calibration.npz"), "shares samples with «calibration»"),
    ],
)
def test_what_cannot_be_is_one_sentence_before_anything_is_written(
    place: Path, code: int, arguments: tuple[str, ...], words: str
) -> None:
    (place / "boxes.py").write_text(FIDELITY)
    before = tree(place)
    given = [place / part[1:] if part.startswith("@") else part for part in arguments]
    assert words in refused(code, *asked(place, *given, "--quiet"))
    assert tree(place) == before


@pytest.mark.parametrize(
    ("function", "words"),
    [("short", "one finite number a sample is due"), ("broken", "line 10: KeyError: 'nothing'")],
)
def test_a_fidelity_that_fails_is_named(place: Path, function: str, words: str) -> None:
    (place / "boxes.py").write_text(FIDELITY)
    assert words in refused(4, *asked(place, "--fidelity", f"{place / 'boxes.py'}:{function}", "--quiet"))


def test_the_model_itself_is_not_written_over(place: Path) -> None:
    (place / "run").mkdir()
    model = place / "run/prepared.onnx"
    (place / "model.onnx").rename(model)
    before = model.read_bytes()
    arguments = ("tune", model, "-d", place / "calibration.npz", *DECLARED, "-o", place / "run", "--force")
    assert "also an input" in refused(2, *arguments)
    assert model.read_bytes() == before


def test_a_quantized_model_and_missing_data_are_refused(place: Path) -> None:
    data = ("-d", place / "calibration.npz", *DECLARED)
    assert "quantized already" in refused(4, "tune", place / "int8.onnx", *data, "-o", place / "run")
    assert "Give --data PATH" in refused(2, "tune", place / "model.onnx", "-o", place / "run")


def test_another_search_in_the_same_folder_is_stale(place: Path) -> None:
    done(*asked(place, "--max-drop", "100", "--quiet"))
    done(*asked(place, "--max-drop", "90", "--quiet"))  # another target goes on
    assert "is of another search" in refused(5, *asked(place, "--max-drop", "90", "--head", "int8", "--quiet"))
    onnx.save(onnx.load(place / "other.onnx"), place / "model.onnx")
    assert "(model changed)" in refused(5, *asked(place, "--max-drop", "100", "--quiet"))
    done(*asked(place, "--max-drop", "90", "--force"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "quantlab-tuning-journal"}'])
def test_a_damaged_journal_is_bad_input(place: Path, text: str) -> None:
    (place / "run/search").mkdir(parents=True)
    (place / "run/search/journal.json").write_text(text)
    assert "cannot be read" in refused(4, *asked(place, "--quiet"))


def test_interrupted_and_resumed_it_ends_with_the_same_table(place: Path) -> None:
    rungs = ("weights", "bias correction", "adaptive rounding", "learned scales")  # enough to be interrupted in
    target = ("--max-drop", "none", "--min-sqnr", "300", *(text for rung in rungs for text in ("--rung", rung)))
    program = "import sys; from quantlab.cli.main import main; sys.argv[0] = 'quantlab'; main()"
    command = [sys.executable, "-u", "-c", program, *map(str, asked(place, *target))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline().startswith("thresholds ")
        running.send_signal(signal.SIGINT)
        error = running.stderr.read()
        assert running.wait(60) == 130, error
    assert "Interrupted; nothing half-written was left." in error
    assert not (place / "run/trials.csv").exists()
    assert len(json.loads((place / "run/search/journal.json").read_text())["trials"]) >= 1
    assert quantlab(*asked(place, *target)).code == 1
    assert quantlab(*asked(place, *target, "-o", place / "whole")).code == 1
    assert trials(place / "run") == trials(place / "whole")
    for name in ("model.int8.onnx", "prepared.onnx", "scales.json"):
        assert (place / "run" / name).read_bytes() == (place / "whole" / name).read_bytes(), name


def test_samples_without_labels_are_measured_by_the_classes_that_change(place: Path) -> None:
    images = np.load(place / "calibration.npz")["image"]
    np.savez(place / "unlabelled.npz", image=images)
    arguments = ("tune", place / "model.onnx", "-d", place / "unlabelled.npz", *DECLARED, "-o", place / "run")
    assert "points changed" in done(*arguments, "--max-drop", "100").out
