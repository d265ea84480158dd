"""A job that trains: the page that `run` writes before the training tells of it afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'quantlab[qat]'")

from tests.cli.workplace import done, quantlab
from tests.jobs.training_place import furnish


def test_the_page_is_made_once_more_after_training(tmp_path: Path) -> None:
    place = furnish(tmp_path)
    changes = ("--set", "qat.steps=3", "--set", "qat.when=always", "--set", "qat.checkpoint_every=100")
    ended = quantlab("run", place / "job.yaml", *changes, "--json")
    assert ended.code in (0, 1, 3), ended.err
    assert [rung["rung"] for rung in ended.json["qat"]["rungs"]] == ["PTQ", "QAT"]
    page = place / "run" / "report.html"
    assert "is current" in done("report", place / "run", "-o", page).out
    assert "QAT" in page.read_text(encoding="utf-8")
