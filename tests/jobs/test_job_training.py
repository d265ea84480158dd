"""A job that trains: the page that `run` writes before the training tells of it afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'quantlab[qat]'")

from tests.cli.workplace import done, quantlab
from tests.jobs.training_place import furnish


def test_the_page_is_made_once_more_after_training(tmp_path: Path) -> None:
    place = furnish(tmp_path)
    changes = ("--set", "qat.steps=3", "--set", "qat.when=always", "--set", "qat.checkpoint_every=100")
    ended = quantlab("run", place / "job.yaml", *changes, "--json", "--log-json", tmp_path / "log.jsonl")
    assert ended.code in (0, 1, 3), ended.err
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    training = [line for line in logged if line.get("section") == "qat"]
    ended_steps = [line["step"] for line in training if line["event"] == "step ended"]
    assert ended_steps == ["export the module", "calibrate and quantize", "train", "report"]
    assert [line["best"] for line in training if line["event"] == "result"] == [ended.json["qat"]["best"]]
    assert [rung["rung"] for rung in ended.json["qat"]["rungs"]] == ["PTQ", "QAT"]
    page = place / "run" / "report.html"
    assert "is current" in done("report", place / "run", "-o", page).out
    assert "QAT" in page.read_text(encoding="utf-8")
