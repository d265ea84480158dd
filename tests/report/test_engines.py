"""Latency and size: of a lineup's engines, and of the two that one comparison timed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quantlab.comparison.cost import BatchTime, Cost
from quantlab.comparison.lineup import Entry, Lineup
from quantlab.errors import InputError
from quantlab.report.build import build
from quantlab.report.page import render
from quantlab.report.run_folder import read_run
from tests.report.html_tree import parse
from tests.report.runs import comparison, parts
from tests.report.test_run_folder import write_comparison


def cost(ms: float, size: int | None = None) -> Cost:
    return Cost(
        (BatchTime(1, ms, 1.2 * ms), BatchTime(32, 20 * ms, 22 * ms), BatchTime(1, ms / 2, ms, graph=True)), size
    )


def lineup(name: str = "int8") -> Lineup:
    entries = (
        Entry("fp32", comparison(), "FP32", cost(4.0, 4000)),
        Entry(name, comparison(), "INT8+FP16 (calibrator)", cost(1.0, 1100)),
    )
    return Lineup(entries, "onnxruntime 1.31.1", Cost(), "fp32")


def test_a_lineup_s_engines_have_times_sizes_and_speeds_against_the_pace() -> None:
    found = build(parts(lineup=lineup())).engines
    assert found is not None
    assert found.pace == "fp32"
    assert found.batches == ((1, False), (32, False), (1, True))
    reference, fp32, int8 = found.rows
    assert (reference.times, reference.metric) == ((), None)
    assert [t.speed for t in fp32.times] == [None] * 3
    assert [t.speed for t in int8.times] == pytest.approx([4.0] * 3)
    assert (int8.model_bytes, int8.precision) == (1100, "INT8+FP16 (calibrator)")
    assert int8.metric == comparison().metrics[0]


def test_without_a_lineup_the_timed_comparison_stands_in() -> None:
    found = build(parts()).engines
    assert found is not None
    assert [(row.name, row.model_bytes) for row in found.rows] == [
        ("FP32 beside ONNX Runtime model", 4000), ("ONNX Runtime model", 1100),
    ]  # fmt: skip
    assert found.rows[1].times[0].speed == pytest.approx(2.0)
    assert build(parts(ort=None)).engines is None


def test_the_page_draws_a_bar_an_engine_and_batch_to_one_scale() -> None:
    section = parse(render(build(parts(lineup=lineup("<b>int8</b>"))))).one("section", id="engines")
    charts = section.all("svg", class_="chart")
    assert len(charts) == 3
    widths = [float(bar.attributes["width"] or 0) for bar in charts[0].all("rect")]
    assert widths[0] == pytest.approx(4 * widths[1], rel=0.01)
    rows = section.one("table").rows()
    assert rows[2][0].startswith("<b>int8</b>")
    assert rows[2][2] == "1 ms (1.2 ms) 4.00×"
    assert rows[0][2] == "–"


def test_the_lineup_in_the_folder_is_read(tmp_path: Path) -> None:
    write_comparison(tmp_path / "compare.json", comparison())
    (tmp_path / "lineup.json").write_text(json.dumps(lineup().to_json()), encoding="utf-8")
    assert read_run(tmp_path).engines == build(parts(lineup=lineup())).engines
    (tmp_path / "lineup.json").write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match=r"lineup\.json"):
        read_run(tmp_path)
