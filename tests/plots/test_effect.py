"""The effect of scales at the output: FP32 runs once, and the figures are those that `compare` gives."""

from __future__ import annotations

import numpy as np
import pytest

import quantlab as ql
from quantlab.errors import InputError, StaleError, UsageError
from tests.networks import image_batch, small_cnn
from tests.plots.hostile import evil, network, table

MODEL = small_cnn()
ROWS = image_batch(8)


@pytest.fixture(scope="module")
def scales() -> ql.ScaleTable:
    with ql.engines.ort(MODEL, expose="quantizable", threads=1) as engine:
        return ql.calibrate(ql.collect(engine, [{"image": ROWS}]))


@pytest.fixture(scope="module")
def effect() -> ql.Effect:
    return ql.Effect(MODEL, [{"image": ROWS}], threads=1)


def test_an_override_and_its_effect_are_two_lines(scales: ql.ScaleTable, effect: ql.Effect) -> None:
    changed = scales.override("relu6", ql.Range(0, 0.5))
    found = effect.beside({"before": scales, "after": changed})
    before, after = (found[name].sqnr_db for name in ("before", "after"))
    assert before is not None
    assert after is not None
    assert before > after + 3


def test_the_figures_are_those_of_compare(scales: ql.ScaleTable, effect: ql.Effect) -> None:
    int8 = ql.engines.simulation(ql.quantize(MODEL, scales).model, threads=1)
    options = ql.CompareOptions(final=False)
    known = ql.compare(ql.engines.ort(MODEL, threads=1), int8, [{"image": ROWS}], metrics=(), options=options)
    found = effect(scales)
    assert effect.samples == found.samples == 8
    assert found.outputs[0].accumulated == known.outputs[0].accumulated
    assert found.agreement == known.agreement
    assert not found.final


def test_the_samples_of_a_stream_are_the_first_ones_even_of_a_generator(scales: ql.ScaleTable) -> None:
    rows = ({"image": ROWS[i : i + 1]} for i in range(8))
    assert ql.Effect(MODEL, rows, samples=2, threads=1)(scales).samples == 2


def test_onnx_runtimes_own_target_runs_in_onnx_runtime(scales: ql.ScaleTable) -> None:
    options = ql.QuantizeOptions(target="ort", allow_missing=True)
    found = ql.Effect(MODEL, [{"image": ROWS}], options=options, threads=1)
    assert "onnxruntime" in found(scales).backends.int8


def test_an_effect_needs_a_sample_and_the_tables_own_model(effect: ql.Effect) -> None:
    with pytest.raises(UsageError, match="at least one sample, not 0"):
        ql.Effect(MODEL, [{"image": ROWS}], samples=0)
    with pytest.raises(InputError):
        ql.Effect(MODEL, [])
    with pytest.raises(StaleError):
        effect(table())


def test_the_explorers_button_shows_both_at_the_output(tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("ipywidgets", reason="needs ipywidgets: pip install 'quantlab[notebooks]'")
    from tests.plots.hostile import histograms
    from tests.report.html_tree import parse

    rows = [{evil("image"): image_batch(4)}]
    found = ql.Effect(network(), rows, threads=1)
    file = tmp_path_factory.mktemp("effect") / "o.yaml"
    panel = ql.explore(histograms(), table(), overrides=file, effect=found, tensor=evil("relu6"))
    assert np.isclose(panel.state.threshold, table()[evil("relu6")].amax)
    panel.slider.value = 20
    panel.measure.click()
    page = parse(panel.message.value)
    assert [row.one("th").text for row in page.all("tr")] == ["before", "with this range"]
    assert f"«{evil('logits')}»: {found(table()).outputs[0].sqnr_db:.2f} dB" in page.text
    assert not page.all("img")
