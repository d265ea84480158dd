"""The report for a pull request and for machines: Markdown, JSON, Parquet; several at once."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from pyarrow import parquet

from quantlab.comparison.agreement import Agreement
from quantlab.errors import InputError, MachineError, StaleError, UsageError
from quantlab.jobs.manifest import Recipe, record
from quantlab.jobs.reporting import report_run, write_reports
from quantlab.report.build import build
from quantlab.report.markdown import render_markdown
from quantlab.report.markdown_text import plain
from quantlab.report.precision import LayerPrecision, Precision
from quantlab.report.report_data import ReportData
from quantlab.report.report_json import to_json
from quantlab.report.run_parts import RunParts
from quantlab.report.tensor_parquet import tensor_columns, write_parquet
from tests.report.html_tree import parse
from tests.report.runs import EVALUATION, comparison, measured, parts
from tests.report.test_diagnostics import diagnosis
from tests.report.test_engines import lineup
from tests.report.test_page import HOSTILE
from tests.report.test_run_folder import write_run

READER = MarkdownIt("gfm-like", {"html": True, "linkify": False})
SINKS = ("report.html", "report.md", "report.json", "tensors.parquet")


def shown(text: str) -> str:
    """Return the text that a reader of GitHub's Markdown sees."""
    page = parse(f"<div>{READER.render(text)}</div>".replace("<br />", "<br>"))
    return " ".join(page.text.split())


@given(st.text())
def test_any_name_reads_in_markdown_as_it_is(name: str) -> None:
    expected = " ".join("".join(c if c.isprintable() or c in "\n\t" else f"[{ord(c)}]" for c in name).split())
    if name.isprintable():
        assert shown(plain(name)) == expected
    html = READER.render(plain(name))
    assert not re.search(r"<(?!/?p>|!-- -->)", html)


@pytest.mark.parametrize(
    "name", [*HOSTILE[:5], "@team", "http://x.y", "www.x.y", "# h", "- l", "1. l", "|", "![a](b)", "a_b_c", "#12"]
)
def test_a_hostile_name_is_text_in_markdown(name: str) -> None:
    html = READER.render(plain(name))
    assert not re.search(r"<(?!/?p>|!-- -->)", html)
    assert shown(plain(name)) == name
    assert not re.search(r"@\w|#\d|://|www\.\w", plain(name))
    cell = READER.render(f"| a | b |\n| --- | --- |\n| {plain(name)} | end |")
    assert cell.count("<td>") == 2


def test_the_markdown_is_short_and_leads_with_the_verdict() -> None:
    text = render_markdown(build(parts()))
    lines = text.splitlines()
    assert lines[0] == "## ✅ Pass: net.onnx in INT8"
    assert lines[2].startswith("INT8 has 92.88 % top-1, FP32 93.00 %")
    assert len(text) < 4000
    table = text[text.index("| Model |") :].splitlines()
    assert table[2].startswith("| Q/DQ model | top-1 | 93.00 % | 92.88 % | 0.12 (−0.18 … 0.42) | 99.94 % | 24.2 dB |")
    assert render_markdown(build(RunParts())).startswith("## No verdict: INT8 report")


def test_a_table_of_the_markdown_has_as_many_cells_in_every_line() -> None:
    text = render_markdown(build(parts(HOSTILE[:5], title=HOSTILE[0], final=comparison(tensors=measured(HOSTILE[:5])))))
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) == 3
    for table in tables:
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(cells) == 1


def test_the_json_holds_all_fields_and_nothing_that_is_no_json() -> None:
    final = comparison(tensors=measured("abc"))
    precision = Precision("model", (LayerPrecision("conv", "Conv", "INT8", 10),), dead={"w": 1}, quantized=("a",))
    data = build(parts(final=final, precision=precision, diagnosis=diagnosis(), lineup=lineup()))
    found = json.loads(json.dumps(to_json(data), allow_nan=False))
    assert (found["schema"], found["version"]) == ("quantlab-report", 1)
    assert set(found) == {"schema", "version", "coverage", *ReportData.__slots__}
    assert [row["name"] for row in found["tensors"]] == ["a", "b", "c"]
    assert found["tensors"][0]["own_db"] == data.tensors[0].own_db
    assert found["verdict"]["state"] == "pass"
    assert found["flipped"]["lost"] == 1
    assert (found["coverage"], found["precision"]["dead"]) == (1.0, {"w": 1})
    assert found["ladder"]["limit"] == 0.5
    assert len(found["engines"]["rows"]) == 3
    assert "sketch" not in found["data"][0]["identity"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_null_in_json(value: float) -> None:
    data = build(parts())
    odd = replace(data, tensors=(replace(data.tensors[0], own_db=value),))
    assert to_json(odd)["tensors"][0]["own_db"] is None


def test_the_parquet_file_holds_the_tensors_and_says_what_it_is(tmp_path: Path) -> None:
    data = build(parts(HOSTILE))
    write_parquet(tmp_path / "tensors.parquet", data)
    table = parquet.read_table(tmp_path / "tensors.parquet")
    assert table.to_pydict() == tensor_columns(data)
    assert table.column("tensor").to_pylist()[0] == HOSTILE[0]
    assert table.schema.metadata[b"quantlab.schema"] == b"quantlab-report-tensors"
    write_parquet(tmp_path / "empty.parquet", build(RunParts()))
    assert parquet.read_table(tmp_path / "empty.parquet").schema.equals(table.schema)


def test_without_pyarrow_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MachineError, match=r"pip install 'quantlab\[parquet\]'"):
        write_parquet(tmp_path / "x.parquet", build(parts()))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path / "run", parts(title="A run"))
    return tmp_path / "run"


def test_several_reports_are_written_at_once_and_stay_current(run: Path) -> None:
    outputs = tuple(run / name for name in SINKS)
    assert [made.fresh for made in write_reports(run, outputs)] == [True] * 4
    assert [made.fresh for made in write_reports(run, outputs)] == [False] * 4
    assert report_run(run, run / "report.html").fresh is False
    assert write_reports(run, (run / "another.json",))[0].fresh
    assert [made.fresh for made in write_reports(run, outputs)] == [False] * 4


def test_a_report_is_stale_once_the_run_or_the_class_names_change(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "report.md"
    write_reports(run, (output,))
    (run / "classes.txt").write_text("shoe\n", encoding="utf-8")
    with pytest.raises(StaleError, match=r"classes\.txt"):
        write_reports(run, (output,))
    assert write_reports(run, (output,), remake="always")[0].fresh


def test_an_artefact_of_the_run_is_never_replaced_by_a_report(run: Path) -> None:
    record(run / "compare.json", Recipe("compare", {}))
    before = (run / "compare.json").read_bytes()
    with pytest.raises(UsageError, match="artefact of the run, made by `compare`"):
        write_reports(run, (run / "compare.json",), remake="always")
    assert (run / "compare.json").read_bytes() == before


@pytest.mark.parametrize("name", ["report.pdf", "report", "report.csv"])
def test_an_unknown_suffix_is_refused_before_any_work(run: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"\.parquet"):
        write_reports(run, (run / "report.html", run / name))
    assert not (run / "report.html").exists()


def test_a_damaged_manifest_is_named(run: Path, tmp_path: Path) -> None:
    (run / "manifest.json").write_text('{"format": "other"}', encoding="utf-8")
    with pytest.raises(InputError, match=r"manifest\.json"):
        write_reports(run, (tmp_path / "report.md",))


def test_what_made_each_file_is_in_the_provenance_with_its_seed(run: Path, tmp_path: Path) -> None:
    record(
        run / "compare.json", Recipe("compare", {"model": "sha256:ab"}, {"train": {"seed": 7}}), versions={"onnx": "1"}
    )
    write_reports(run, (tmp_path / "report.json",))
    found: dict[str, Any] = json.loads((tmp_path / "report.json").read_text())
    (file,) = found["artefacts"]
    assert (file["name"], file["command"], file["options"]) == ("compare.json", "compare", {"train": {"seed": 7}})
    write_reports(run, (tmp_path / "report.html",))
    section = parse((tmp_path / "report.html").read_text()).one("section", id="provenance")
    rows = section.all("table")[-1].rows()
    assert rows[0][0] == "compare.json"
    assert "seed 7" in rows[0][1]


def test_half_a_surrogate_pair_in_a_sample_s_name_can_be_written(tmp_path: Path) -> None:
    final = comparison(replace(EVALUATION, name="\udcff"))
    flips = tuple(replace(flip, name="\udcff.png") for flip in final.flips)
    data = build(parts(final=replace(final, agreement=Agreement(1, 5, flips))))
    assert to_json(data)["flipped"]["rows"][0]["name"] == "\\udcff.png"
    assert "\udcff" not in render_markdown(data)
