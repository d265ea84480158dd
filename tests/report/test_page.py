"""The page as a reader, a keyboard and a stranger's tensor name meet it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from quantlab.comparison.agreement import Agreement
from quantlab.errors import MachineError
from quantlab.report.build import build
from quantlab.report.page import render, write_report
from quantlab.report.report_data import ReportData
from quantlab.report.run_parts import RunParts
from tests.report.html_tree import Element, parse
from tests.report.runs import EVALUATION, METHODS, RANDOM, comparison, measured, names, parts

HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    '" autofocus onfocus="alert(1)',
    "' onclick='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "<!-- ]]> -->",
    "a\u2028b\x00c\u202ed",
    "\udcff.png",
    "</title></style></svg>",
)
SECTIONS = [
    "verdict", "ladder", "methods", "network", "tensors", "worst", "precision", "flips", "engines", "diagnostics",
    "provenance",
]  # fmt: skip


@pytest.fixture(scope="module")
def data() -> ReportData:
    return build(parts())


@pytest.fixture(scope="module")
def page(data: ReportData) -> Element:
    return parse(render(data))


def embedded(page: Element) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.one("script", id="histograms").text)
    return found


def test_sections_come_in_the_order_of_the_reader_s_questions(page: Element) -> None:
    order = [element.attributes["id"] for element in page.all("section")]
    assert order == SECTIONS


def test_the_verdict_and_the_key_numbers_are_those_of_the_data(data: ReportData, page: Element) -> None:
    verdict = page.one("section", id="verdict")
    assert verdict.one("h2").text == "Pass"
    assert data.verdict.headline in verdict.text
    tiles = {
        tile.one("dt").text: (tile.one("strong").text, " ".join(tile.text.split()))
        for tile in page.all("div", class_="tile")
    }
    assert tiles["INT8 top-1"][0] == "92.88 %"
    assert tiles["Drop, points"][0] == "0.12"
    assert "−0.18 … 0.42" in tiles["Drop, points"][1]
    assert tiles["Agreement with FP32"][0] == "99.94 %"
    assert tiles["Output SQNR"][0] == "24.2 dB"
    assert tiles["Model size"][0] == "1.10 kB"
    assert "0.28 of FP32's 4.00 kB" in tiles["Model size"][1]
    assert tiles["Speed, ONNX Runtime"][0] == "2.00×"
    assert "onnxruntime 1.31.1" in tiles["Speed, ONNX Runtime"][1]
    assert tiles["Quantized tensors"][0] == "3"
    assert tiles["Quantized tensors"][1].endswith("2 tensors inside kernels, 1 tensor in float")


def test_every_tensor_has_a_row_with_its_numbers(data: ReportData, page: Element) -> None:
    rows = page.one("table", id="tensor-table").rows()
    assert [row[1] for row in rows] == [row.name for row in data.tensors]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    first = data.tensors[0]
    assert rows[0][2] == "batch×8×4×4"
    assert f"under the chosen method, {first.method}." in page.one("section", id="tensors").text
    assert rows[0][-2:] == ["40.0", "20.0"]
    cells = page.one("tr", id="t1").all("td")
    assert float(cells[2].attributes["data-v"] or "") == first.scale
    assert [cell.attributes["data-v"] for cell in cells[-2:]] == [repr(first.own_db), repr(first.accumulated_db)]


def test_methods_are_compared_and_the_chosen_one_is_named(page: Element) -> None:
    section = page.one("section", id="methods")
    rows = section.one("table").rows()
    assert [row[0].split()[0] for row in rows] == list(METHODS)
    assert "chosen" in rows[2][0]
    assert [row[3] for row in rows] == ["0.00 (−0.30 … 0.30)", "0.10 (−0.20 … 0.40)", "0.20 (−0.10 … 0.50)"]
    assert "«squared-error»" in section.one("h2").text + section.text


def test_the_script_gets_every_histogram_and_threshold(data: ReportData, page: Element) -> None:
    stored = embedded(page)
    assert stored["methods"] == list(METHODS)
    assert stored["chosen"] == 2
    assert set(stored["tensors"]) == {"1", "2", "3"}
    for row in data.tensors:
        found = stored["tensors"][str(row.position)]
        assert row.sketch is not None
        assert found["c"] == list(row.sketch.counts)
        assert [line[1] for line in found["t"]] == pytest.approx([line.amax for line in row.thresholds], rel=1e-4)


def test_what_stays_float_is_grouped_by_its_reason(page: Element) -> None:
    groups = page.one("section", id="precision").all("details")
    assert [group.one("summary").text for group in groups] == [
        "inside one kernel: Conv + Relu (2)",
        "read by Softmax in float (1)",
    ]
    assert [item.text for item in groups[0].all("li")] == ["x", "z"]


def test_changed_answers_say_whether_they_were_lost_or_gained(page: Element) -> None:
    rows = page.one("table", id="flip-table").rows()
    assert rows == [
        ["shoe.png", "1", "1", "2", "lost"],
        ["sample 7", "5", "4", "5", "gained"],
        ["bag.png", "0", "4", "2", "wrong either way"],
    ]


def test_provenance_names_model_sets_and_versions(page: Element) -> None:
    section = page.one("section", id="provenance")
    assert "sha256:1234" in section.text
    rows = section.all("table")[0].rows()
    assert [row[:3] for row in rows] == [
        ["calibration", "calibrated the scales", "1,000"],
        ["tuning", "compared the methods", "2,000"],
        ["evaluation", "scored the result", "5,000"],
    ]
    assert rows[0][3] == '{"scale": 0.5}'


def test_random_data_get_a_banner_before_everything_else() -> None:
    page = parse(render(build(parts(final=comparison(RANDOM, final=False)))))
    first, second = page.all("section")[:2]
    assert first.attributes["class"] == "banner"
    assert "«noise» (scored the result)" in first.text
    assert second.attributes["class"] == "verdict warn"


@pytest.mark.parametrize("max_drop", [None, 0.5])
def test_the_verdict_says_that_a_score_is_not_final(max_drop: float | None) -> None:
    final = comparison(chosen_on=(), final=False)
    page = parse(render(build(parts(final=final, max_drop=max_drop))))
    assert "nothing tells which data chose the scales, so this is no final score" in page.all("section")[0].text


def test_real_data_get_none(page: Element) -> None:
    assert not page.all("section", class_="banner")


def test_hostile_names_are_text_and_nothing_else() -> None:
    plain = parse(render(build(parts(names(len(HOSTILE))))))
    floats = {f"{name} (an operator)": name for name in HOSTILE}
    final = comparison(replace(EVALUATION, name=HOSTILE[0], preprocess={HOSTILE[0]: HOSTILE[1]}))
    flips = tuple(replace(final.flips[0], name=name) for name in HOSTILE)
    final = replace(final, agreement=replace(final.agreement, flips=flips))
    tables = parts(HOSTILE).tables
    renamed = {HOSTILE[i]: table for i, table in enumerate(tables.values())}
    text = render(
        build(parts(HOSTILE, title=HOSTILE[0], tables=renamed, chosen=HOSTILE[0], final=final, floats=floats))
    )
    page = parse(text)
    assert not page.all("img")
    assert len(page.all("script")) == 2
    assert {element.tag for element in page.all("*")} <= {element.tag for element in plain.all("*")}
    assert not [e for e in page.all("*") for a in e.attributes if a.startswith("on") or a == "autofocus"]
    shown = [row[1] for row in page.one("table", id="tensor-table").rows()]
    assert shown[:6] == [" ".join(name.split()) for name in HOSTILE[:6]]
    assert shown[6:8] == ["a\\u2028b\\x00c\\u202ed", "\\udcff.png"]
    assert embedded(page)["methods"] == [HOSTILE[0], HOSTILE[1], HOSTILE[2]]
    assert not set(text) & {"\x00", "\u2028", "\u2029", "\u202e"}


def test_the_embedded_json_holds_no_tag() -> None:
    tables = parts().tables
    renamed = {f"</script>{i}&<!--": table for i, table in enumerate(tables.values())}
    text = render(build(parts(tables=renamed, chosen=next(iter(renamed)))))
    inside = text.split('id="histograms">')[1].split("</script>")[0]
    assert not set(inside) & set("<>&")
    assert embedded(parse(text))["methods"] == list(renamed)


def test_the_policy_allows_the_page_s_own_script_and_style_and_nothing_else(page: Element) -> None:
    (policy,) = (meta.attributes["content"] for meta in page.all("meta") if meta.attributes.get("http-equiv"))
    rules = dict(rule.strip().split(" ", 1) for rule in str(policy).split(";"))
    style, script = page.one("style").text, page.all("script")[1].text
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": f"'sha256-{sha256(style)}'",
        "script-src": f"'sha256-{sha256(script)}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_the_page_needs_no_other_file(page: Element) -> None:
    assert not [e for e in page.all("*") if {"src", "srcset", "data", "action"} & set(e.attributes)]
    assert all(str(link.attributes["href"]).startswith("#") for link in page.all("a"))
    code = page.one("style").text + page.all("script")[1].text
    assert re.findall(r"https?://[^\"']+", code) == ["http://www.w3.org/2000/svg"]
    assert "@import" not in code
    assert "url(" not in code
    assert not [e for e in page.all("*") if "style" in e.attributes]  # the policy would ignore it


def test_it_can_be_used_by_keyboard_and_screen_reader(page: Element) -> None:
    assert page.one("html").attributes["lang"] == "en"
    places = {e.attributes["id"] for e in page.all("*") if "id" in e.attributes}
    assert len(places) == len([e for e in page.all("*") if "id" in e.attributes])
    assert all(str(link.attributes["href"])[1:] in places for link in page.all("a"))
    assert page.all("a")[0].attributes["class"] == "skip"
    assert all("scope" in header.attributes for header in page.all("th"))
    headers = page.one("table", id="tensor-table").all("thead")[0].all("tr")[1].all("th")
    assert [header.attributes["aria-sort"] for header in headers] == ["ascending"] + ["none"] * 9
    assert all(svg.attributes.get("aria-label") or svg.attributes.get("aria-hidden") for svg in page.all("svg"))
    assert all(region.attributes.get("aria-label") for region in page.all("div", role="region"))
    levels = [int(e.tag[1]) for e in page.all("*") if re.fullmatch("h[1-6]", e.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_missing_parts_leave_their_sections_out() -> None:
    page = parse(render(build(RunParts(final=comparison(agreement=Agreement())))))
    assert [section.attributes["id"] for section in page.all("section")] == ["verdict", "provenance"]
    page = parse(render(build(RunParts(tables=parts().tables, chosen=METHODS[0]))))
    assert [section.attributes["id"] for section in page.all("section")] == [
        "verdict", "methods", "network", "tensors", "worst", "provenance",
    ]  # fmt: skip


def test_a_run_of_nothing_is_still_a_page() -> None:
    assert "not measured" in parse(render(build(RunParts()))).one("section", id="verdict").text


def test_unlabelled_samples_are_scored_by_agreement() -> None:
    page = parse(render(build(parts(final=comparison(metrics=()), tuning={}, ort=None))))
    assert "99.94 %" in page.one("section", id="verdict").text
    assert "no labels" in page.text


def test_the_unfused_view_is_there_where_more_than_the_quantized_tensors_were_measured(page: Element) -> None:
    inner = replace(measured("z")[0], quantized=False)
    view = parse(render(build(parts(final=comparison(tensors=(*measured("abc"), inner)))))).one("details", id="unfused")
    marks = [mark.attributes.get("data-tensor") for mark in view.one("svg", class_="chart").all("rect")]
    assert marks == ["1", "2", "3", None]
    assert not page.all("details", id="unfused")


def test_equal_data_make_equal_bytes_and_the_file_is_whole(tmp_path: Path, data: ReportData) -> None:
    for name in ("one.html", "two.html"):
        write_report(tmp_path / "run" / name, data)
    one, two = ((tmp_path / "run" / name).read_bytes() for name in ("one.html", "two.html"))
    assert one == two == render(data).encode()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["one.html", "two.html"]


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path: Path, data: ReportData) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="a part of the path is a file"):
        write_report(tmp_path / "file" / "report.html", data)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
