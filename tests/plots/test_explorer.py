"""The explorer, its widgets really moved and clicked; what is kept is read by `quantlab calibrate`."""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import quantlab as ql
from quantlab.calibration.expected_error import clipped_share, expected_sqnr_db
from quantlab.errors import InputError, MachineError, UsageError
from quantlab.plots.exploration import STEPS, Exploration
from quantlab.plots.explorer import METHODS, Explorer
from quantlab.storage.overrides_yaml import read_overrides
from tests.numerics.tensors import activation, f32, law
from tests.plots.hostile import EVIL
from tests.report.html_tree import parse

pytest.importorskip("ipywidgets", reason="needs ipywidgets: pip install 'quantlab[notebooks]'")

HISTOGRAMS = {
    "silu": ql.Histogram.of(activation("silu")),
    "gauss": ql.Histogram.of(activation("gauss")),
    EVIL: ql.Histogram.of(np.abs(activation("gauss"))),
    "empty": ql.Histogram.of(f32(np.nan)),
    "zeros": ql.Histogram.of(f32(0.0, 0.0)),
}


@pytest.fixture
def panel(tmp_path: Path) -> Explorer:
    return ql.explore(HISTOGRAMS, overrides=tmp_path / "overrides.yaml")


def said(panel: Explorer) -> str:
    return parse(panel.message.value).text


def test_it_begins_at_the_tables_threshold() -> None:
    chosen = ql.calibrate({"gauss": HISTOGRAMS["gauss"]}, ql.Percentile(99.0))
    assert Exploration.of(HISTOGRAMS, chosen, "gauss").threshold == ql.Percentile(99.0)(HISTOGRAMS["gauss"]).amax
    assert Exploration.of(HISTOGRAMS).threshold == ql.SquaredError()(HISTOGRAMS["silu"]).amax


def test_tensors_without_values_cannot_be_chosen(panel: Explorer) -> None:
    assert panel.tensors.options == ("silu", "gauss", EVIL, "zeros")


@pytest.mark.parametrize("spacing", ["linear", "log"])
def test_moving_the_slider_moves_the_threshold_over_the_candidates(panel: Explorer, spacing: str) -> None:
    panel.spacing.value = spacing
    assert panel.slider.max == STEPS - 1
    panel.slider.value = 40
    candidates = panel.state.candidates(panel.spacing.value)
    assert panel.state.threshold == candidates[40]
    assert panel.threshold.value == pytest.approx(candidates[40], rel=1e-8)
    panel.slider.value = STEPS - 1
    assert panel.state.threshold == pytest.approx(HISTOGRAMS["silu"].amax)


def test_the_facts_are_those_that_a_table_with_this_range_has(panel: Explorer) -> None:
    panel.slider.value = 100
    state = panel.state
    params = ql.Symmetric().params(state.range)
    assert state.cost.clipped == clipped_share(state.seen, params)
    assert state.cost.sqnr_db == expected_sqnr_db(state.seen, params)
    heads, cells = ([cell.text for cell in parse(panel.facts.value).all(tag)] for tag in ("th", "td"))
    shown = dict(zip(heads, cells, strict=True))
    assert shown["clipped"] == f"{100 * state.cost.clipped:.4g} %"
    assert shown["expected SQNR"] == f"{state.cost.sqnr_db:.2f} dB"
    assert shown["override kept"] == "none"


def test_the_divergence_is_the_entropy_searchs_and_least_at_its_choice(panel: Explorer) -> None:
    panel.methods["entropy"].click()
    curve = ql.Entropy().curve(HISTOGRAMS["silu"])
    assert panel.state.cost.divergence == curve.divergences[curve.best]


@pytest.mark.parametrize("name", list(METHODS))
def test_a_methods_button_goes_to_its_threshold(panel: Explorer, name: str) -> None:
    panel.tensors.value = "gauss"
    panel.methods[name].click()
    assert panel.state.threshold == METHODS[name](HISTOGRAMS["gauss"]).amax
    assert panel.slider.value == panel.state.nearest("linear")


def test_the_picture_is_drawn_anew_and_leaves_no_figure_behind(panel: Explorer) -> None:
    from matplotlib import pyplot as plt

    before = panel.picture.value
    panel.slider.value = 10
    assert panel.picture.value != before
    assert Image.open(BytesIO(panel.picture.value)).size == (787, 499)
    assert plt.get_fignums() == []


def test_a_wrong_threshold_is_said_and_nothing_changes(panel: Explorer) -> None:
    before = panel.state
    panel.threshold.value = -1.0
    assert "at least 0, not -1.0" in said(panel)
    assert panel.state is before
    assert panel.threshold.value == pytest.approx(before.threshold)
    panel.threshold.value = 1.5
    assert (said(panel), panel.state.threshold) == ("", 1.5)


def test_a_tensor_of_zeros_has_one_candidate(panel: Explorer) -> None:
    panel.tensors.value = "zeros"
    assert panel.slider.disabled
    for name in METHODS:
        panel.methods[name].click()
    assert panel.state.range == ql.Range(0.0, 0.0)
    assert "Every value" not in said(panel)


def test_what_is_kept_is_what_calibrate_uses(panel: Explorer, tmp_path: Path) -> None:
    panel.tensors.value = "gauss"
    panel.slider.value = 123
    panel.keep.click()
    chosen = panel.state.range
    assert "Kept in" in said(panel)
    assert f"[{chosen.low:.5g}, {chosen.high:.5g}]" in parse(panel.facts.value).text
    found = read_overrides(tmp_path / "overrides.yaml")
    assert found.entries == (ql.Override("gauss", chosen, "set in the explorer"),)
    usable = {name: HISTOGRAMS[name] for name in ("silu", "gauss")}
    table = ql.calibrate(usable, rules=found.rules(usable))
    assert table["gauss"].chosen == chosen
    assert table["silu"] == ql.calibrate(usable)["silu"]


def test_keeping_leaves_other_entries_and_removing_takes_one(panel: Explorer, tmp_path: Path) -> None:
    file = tmp_path / "overrides.yaml"
    for name in ("silu", "gauss", EVIL, "gauss"):
        panel.tensors.value = name
        panel.slider.value += 1 if panel.slider.value < 300 else -1
        panel.keep.click()
    assert [entry.pattern for entry in read_overrides(file).entries] == ["silu", "gauss", EVIL]
    panel.tensors.value = "silu"
    panel.drop.click()
    assert [entry.pattern for entry in read_overrides(file).entries] == ["gauss", EVIL]
    panel.drop.click()
    assert "has no override of «silu»" in said(panel)


def test_a_pattern_that_still_applies_is_named(tmp_path: Path) -> None:
    file = tmp_path / "o.yaml"
    ql.save(ql.Overrides((ql.Override("ga*", ql.Range(-1, 1)),)), file)
    panel = ql.explore(HISTOGRAMS, overrides=file, tensor="gauss")
    panel.drop.click()
    assert "The pattern «ga*» still applies to it." in said(panel)


def test_a_name_with_brackets_is_kept_for_itself_alone(tmp_path: Path) -> None:
    seen = dict.fromkeys(("a[0]", "a0", "b"), HISTOGRAMS["gauss"])
    panel = ql.explore(seen, overrides=tmp_path / "o.yaml", tensor="a[0]")
    panel.keep.click()
    found = read_overrides(tmp_path / "o.yaml")
    assert [name for name in seen if found.of(name)] == ["a[0]"]


def test_a_file_that_is_none_is_refused_and_stays(tmp_path: Path) -> None:
    file = tmp_path / "o.yaml"
    file.write_text("methods: [minmax]\n")
    with pytest.raises(InputError, match="holds no overrides"):
        ql.explore(HISTOGRAMS, overrides=file)
    file.unlink()
    panel = ql.explore(HISTOGRAMS, overrides=file)
    file.write_text("overrides: 3\n")
    panel.keep.click()
    assert "`overrides` is a mapping" in said(panel)
    assert file.read_text() == "overrides: 3\n"


def test_names_are_text_in_the_panel(panel: Explorer) -> None:
    panel.tensors.value = EVIL
    panel.keep.click()
    assert EVIL in said(panel)
    for shown in (panel.facts.value, panel.message.value):
        assert not parse(shown).all("img")


def test_the_effect_button_calls_a_function_with_both_tables(tmp_path: Path) -> None:
    usable = {name: HISTOGRAMS[name] for name in ("silu", "gauss")}
    called: list[ql.ScaleTable] = []

    def effect(table: ql.ScaleTable) -> str:
        called.append(table)
        return f"<b>{table['gauss'].amax:.3f}"

    panel = ql.explore(usable, overrides=tmp_path / "o.yaml", effect=effect, tensor="gauss")
    panel.slider.value = 50
    panel.measure.click()
    assert called[0] == ql.calibrate(usable)
    assert called[1]["gauss"].chosen == panel.state.range
    assert called[1]["silu"] == called[0]["silu"]
    assert f"with this range: <b>{called[1]['gauss'].amax:.3f}" in said(panel)


def test_without_an_effect_the_button_is_off_and_an_effects_error_is_said(tmp_path: Path, panel: Explorer) -> None:
    assert panel.measure.disabled
    with_nan = {"gauss": HISTOGRAMS["gauss"].merge(HISTOGRAMS["empty"])}
    other = ql.explore(with_nan, overrides=tmp_path / "p.yaml", effect=lambda _: "")
    other.measure.click()
    assert "1 values that are NaN" in said(other)


def test_the_panel_shows_itself(panel: Explorer) -> None:
    assert "application/vnd.jupyter.widget-view+json" in panel._repr_mimebundle_()


def test_what_is_no_histogram_is_refused() -> None:
    with pytest.raises(UsageError, match="histograms by tensor on the default grid"):
        ql.explore({"t": ql.TensorRTHistogram.starting(1.0, batch=1)})
    with pytest.raises(UsageError, match="no tensor «x»"):
        ql.explore(HISTOGRAMS, tensor="x")
    with pytest.raises(InputError, match="No tensor has a finite value"):
        ql.explore({"empty": HISTOGRAMS["empty"]})


def test_without_ipywidgets_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(MachineError, match=r"pip install 'quantlab\[notebooks\]'"):
        ql.explore(HISTOGRAMS)


@law
@given(st.floats(0, 1e30), st.sampled_from(["silu", "gauss", EVIL, "zeros"]))
def test_any_threshold_has_a_cost_and_a_range_about_zero(threshold: float, tensor: str) -> None:
    state = Exploration.of(HISTOGRAMS, tensor=tensor).at(threshold)
    assert state.range.low <= 0 <= state.range.high
    assert state.range.amax <= max(threshold, 0)
    assert 0 <= state.cost.clipped <= 1
    assert state.cost.step > 0
