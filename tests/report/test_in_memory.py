"""The page without a run folder."""

from __future__ import annotations

from pathlib import Path

import pytest

import quantlab as ql
from quantlab.errors import InputError
from quantlab.report.build import build
from quantlab.report.page import render


def test_the_page_of_a_session_is_that_of_its_parts(tmp_path: Path) -> None:
    table = ql.ScaleTable((ql.Scale("<img src=x>", (0.5,)),))
    parts = ql.RunParts(title="A session", tables={"by hand": table})
    ql.write_report(tmp_path / "report.html", parts)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page == render(build(parts))
    assert "<h1" in page
    assert "A session" in page
    assert "<img src=x>" not in page


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        ql.write_report(tmp_path / "report.html", ql.RunParts())
