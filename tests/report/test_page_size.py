"""How large a page gets: bytes and elements, for three hundred tensors and more."""

from __future__ import annotations

from dataclasses import replace

from quantlab.report.build import build
from quantlab.report.page import render
from tests.report.html_tree import parse
from tests.report.large_report import large_report
from tests.report.runs import names, parts


def test_three_hundred_tensors_stay_under_three_megabytes() -> None:
    tensors = [f"{name}/{'deeply/nested/' * 6}{i}" for i, name in enumerate(names(300))]
    base = parts(tensors[:1])
    one = base.tables["minmax"].rows[0]
    counts = base.histograms
    assert counts is not None
    full = replace(counts, histograms=dict.fromkeys(tensors, counts[tensors[0]]))
    tables = {
        f"method-{i}": replace(base.tables["minmax"], rows=tuple(replace(one, tensor=name) for name in tensors))
        for i in range(8)
    }
    text = render(build(replace(base, tables=tables, chosen="method-3", histograms=full)))
    assert len(text.encode()) < 3_000_000
    assert len(parse(text).one("table", id="tensor-table").rows()) == 300


def test_a_large_report_s_size_and_elements_are_bounded() -> None:
    text = render(large_report())
    assert len(text.encode()) < 3_000_000
    elements = parse(text).all("*")
    assert len(elements) < 20_000
    double = len(parse(render(large_report(600))).all("*"))
    assert double < 2.2 * len(elements)
