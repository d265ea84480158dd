"""Figures of engines that were committed: what ships is read, and what is none is refused."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantlab as ql
from quantlab.errors import InputError, UsageError

SHIPPED = Path(__file__).parents[2] / "reports" / "gpu"
SMALL: dict[str, Any] = {
    "command": "measure",
    "measured": "2026-01-01",
    "device": "a GPU",
    "versions": {"tensorrt": "8.6.1"},
    "tables": {"eval": [{"name": "reference", "sqnr_db": None}, {"name": "<b>", "sqnr_db": "inf"}]},
    "checks": [{"what": "SQNR", "value": 18.5, "limit": 19.0, "reached": False}],
    "engines": {"fp32": {"onnx": "sha256:0"}},
}


@pytest.mark.parametrize("name", ["lite0", "yolov3_tiny"])
def test_what_ships_is_read(name: str) -> None:
    found = ql.EngineFigures.from_json((SHIPPED / f"{name}.json").read_text(encoding="utf-8"))
    assert "H200" in found.device
    frame = found.frame().set_index("name")
    assert {"reference", "fp32", "cache", "qdq"} <= set(frame.index)
    assert frame["ms b128"].drop("reference").gt(0).all()
    assert len(found.checks_frame()) == len(found.checks) > 0


def test_a_missing_figure_is_nan_and_equal_outputs_have_an_infinite_sqnr() -> None:
    frame = ql.EngineFigures.from_json(json.dumps(SMALL)).frame()
    assert np.isnan(frame["sqnr_db"][0])
    assert frame["sqnr_db"][1] == inf


def test_names_are_escaped() -> None:
    page = ql.EngineFigures.from_json(SMALL)._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


def test_checks_say_whether_they_were_reached() -> None:
    line = ql.EngineFigures.from_json(SMALL).checks_frame().iloc[0]
    assert (line["what"], line["reached"]) == ("SQNR", False)


def test_another_set_is_named() -> None:
    with pytest.raises(UsageError, match="measured are eval, not «all»"):
        ql.EngineFigures.from_json(SMALL).frame("all")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"device": 3}, "«device»: input should be a valid string"),
        ({"tables": {"eval": []}}, "a table without lines"),
        ({"tables": {"eval": [{"name": ["nested"]}]}}, r"«tables\.eval\.0\.name"),
        ({"checks": [{"what": "x"}]}, r"«checks\.0\.value»"),
    ],
)
def test_what_is_none_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        ql.EngineFigures.from_json(SMALL | change)


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no figures of engines"):
        ql.EngineFigures.from_json(text)
