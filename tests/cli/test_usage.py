"""Wrong usage and refused files: one sentence of the same style, whoever found out."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.workplace import DECLARED, done, quantlab, quantlab_process, refused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--frob",), "No such option: --frob"),
        (("frob",), "No such command 'frob'. See `quantlab --help`."),
        (("cache", "lint"), "Missing argument 'CACHE'. See `quantlab cache lint --help`."),
        (("collect", "a.onnx", "-o", "b.h5", "--skipbad"), "See `quantlab collect --help`."),
        (("collect", "a.onnx", "-o", "b.h5", "--batch", "0"), "Invalid value for '--batch'"),
    ],
)
def test_wrong_usage_is_one_sentence_that_names_the_help(arguments: tuple[str, ...], said: str) -> None:
    assert said in refused(2, *arguments)


def test_wrong_usage_is_told_as_json_too() -> None:
    ended = quantlab("--frob", "collect", "--json")
    assert (ended.code, json.loads(ended.out)["exit_code"]) == (2, 2)


def test_a_group_without_a_command_shows_its_help() -> None:
    ended = quantlab("cache")
    assert ended.code == 2
    assert "Usage: quantlab cache" in ended.out + ended.err
    assert "Error" not in ended.err


REFUSED = """
import pathlib
real = pathlib.Path.read_text
def refuse(self, *more, **named):
    if self.name == 'job.yaml':
        raise PermissionError(13, 'Permission denied', str(self))
    return real(self, *more, **named)
pathlib.Path.read_text = refuse
"""


def test_a_permission_that_is_missed_late_is_the_machines_refusal_too(place: Path) -> None:
    # root may read everything, so what the system would answer to others is given as its answer
    ended = quantlab_process("run", place / "job.yaml", before=REFUSED)
    assert (ended.code, ended.out) == (6, "")
    assert "Permission denied" in ended.err
    assert ended.err.count("\n") == 1


def test_many_more_workers_than_cores_are_told_before_they_start(place: Path) -> None:
    count = 1000 * (os.cpu_count() or 1)
    data = ("-d", place / "calibration.npz", *DECLARED)
    ended = done("collect", place / "model.onnx", *data, "--workers", count, "-o", place / "new.h5")
    assert ended.err.startswith(f"Note: {count:,} workers for ")
