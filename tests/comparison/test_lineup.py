"""Many engines in one table: each line is what a comparison of its own says, and every engine runs once a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quantlab import engines
from quantlab.builder import QuantizeOptions, quantize
from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.methods.minmax import MinMax
from quantlab.collector.collect import collect
from quantlab.comparison.comparison import CompareOptions, compare
from quantlab.comparison.cost import BatchTime, Cost, Power, batch_of, time_batches
from quantlab.comparison.lineup import Lineup, lineup
from quantlab.comparison.lineup_table import markdown, table_cells
from quantlab.comparison.recording import record
from quantlab.comparison.tensors import TensorProbe
from quantlab.errors import InputError, UsageError
from quantlab.metrics.top_k import TopK
from quantlab.numerics.arrays import AnyArray, Tensors
from tests.comparison.networks import FEATURES, Network, samples
from tests.graph.nets import residual_net

METRICS = (TopK(1), TopK(2))
BOTH = ("hidden", "logits")


class Counting(Network):
    """A network that counts its runs."""

    runs = 0

    def run(self, batch: Tensors) -> Mapping[str, AnyArray]:
        self.runs += 1
        return super().run(batch)


def three(**options: Any) -> Lineup:
    candidates = {"fine": Network(0.125), "coarse": Network(0.5), "same": Network()}
    return lineup(Network(), candidates, samples(), metrics=METRICS, options=CompareOptions(**options))


def priced() -> Lineup:
    fast = Cost(
        (BatchTime(1, 0.5, 0.6), BatchTime(8, 2.0, 2.5), BatchTime(8, 1.0, 1.5, graph=True)), 7_000_000, 1000, 9.5
    )
    slow = Cost((BatchTime(8, 6.0, 7.0),), power=Power(500.0, 8, 1000.0))
    return three().with_costs({"coarse": fast, "same": slow}, paced_by="same")


def test_each_line_is_what_a_comparison_of_its_own_says() -> None:
    found = three()
    for name, step in (("fine", 0.125), ("coarse", 0.5), ("same", 0.0)):
        assert found[name].comparison == compare(Network(), Network(step), samples(), metrics=METRICS)


def test_every_engine_runs_once_a_batch() -> None:
    reference, one, two = Counting(), Counting(0.25), Counting(0.5)
    lineup(reference, {"one": one, "two": two, "itself": reference}, samples(40, batch=7), metrics=METRICS)
    assert (reference.runs, one.runs, two.runs) == (6, 6, 6)


def test_a_probe_belongs_to_its_candidate() -> None:
    probe = TensorProbe(Network(0.0, BOTH), Network(0.5, BOTH))
    candidates = {"fine": Network(0.125), "coarse": Network(0.5)}
    found = lineup(Network(), candidates, samples(), metrics=METRICS, probes={"coarse": probe})
    assert [error.tensor for error in found["coarse"].comparison.tensors] == list(BOTH)
    assert found["fine"].comparison.tensors == ()


def test_json_gives_the_lineup_back() -> None:
    found = priced()
    assert Lineup.from_json(found.to_json()) == found


def test_a_damaged_lineup_is_refused_with_the_place() -> None:
    document = priced().to_json()
    with pytest.raises(InputError, match="no comparison of quantlab"):
        Lineup.from_json(document | {"schema": "quantlab-comparison"})
    with pytest.raises(InputError, match="no field «more»"):
        Lineup.from_json(document | {"more": 1})
    document["entries"][1]["cost"]["build_seconds"] = "long"
    with pytest.raises(InputError, match=r"entries\.1\.cost\.build_seconds"):
        Lineup.from_json(document)


def test_the_frame_has_a_line_an_engine_and_the_reference_first() -> None:
    frame = priced().frame().set_index("name")
    assert list(frame.index) == ["reference", "fine", "coarse", "same"]
    assert frame.loc["same", "agreement"] == 1
    assert frame.loc["same", "sqnr_db"] == np.inf
    assert frame.loc["reference", "top-1"] == three()["fine"].comparison.metrics[0].fp32
    assert frame.loc["coarse", "speed b8"] == 3.0
    assert frame.loc["coarse", "ms b8 graph"] == 1.0
    assert np.isnan(frame.loc["coarse", "speed b8 graph"])  # the pacing engine was not timed so
    assert frame.loc["same", "joules_per_sample"] == 0.5


def test_the_table_leaves_out_what_nobody_measured() -> None:
    columns, rows = table_cells(three().rows())
    assert columns == ("engine", "top-1 %", "top-1 drop", "top-2 %", "top-2 drop", "agreement %", "SQNR dB")
    assert [row[0] for row in rows] == ["reference", "fine", "coarse", "same"]
    columns, rows = table_cells(priced().rows())
    assert dict(zip(columns, rows[2], strict=True))["ms b1 / b8"] == "0.500 / 2.000"
    assert "MB" in columns


def test_markdown_has_as_many_cells_in_every_line() -> None:
    lines = markdown(priced().rows()).splitlines()
    assert len(lines) == 6
    assert len({line.count(" | ") for line in lines}) == 1


def test_html_names_the_reference_and_shows_no_markup_of_names() -> None:
    found = lineup(Network(), {"<b>": Network(0.5)}, samples(), metrics=())
    page = found._repr_html_()
    assert "step 0.0" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


def test_what_makes_no_lineup_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one candidate"):
        lineup(Network(), {}, samples())
    probe = TensorProbe(Network(0.0, BOTH), Network(0.5, BOTH))
    with pytest.raises(UsageError, match="no «other»"):
        lineup(Network(), {"one": Network()}, samples(), probes={"other": probe})
    with pytest.raises(UsageError, match="a probe a candidate"):
        lineup(Network(), {"one": Network()}, samples(), options=CompareOptions(probe=probe))
    with pytest.raises(UsageError, match="sets no pace"):
        three().with_costs({}, paced_by="none")
    with pytest.raises(UsageError, match="no engine «none»"):
        three().with_costs({"none": Cost()})
    entry = three().entries[0]
    with pytest.raises(UsageError, match="came twice"):
        Lineup((entry, replace(entry)), "reference")
    with pytest.raises(UsageError, match="at least one engine"):
        Lineup((), "reference")


def test_an_engine_that_is_not_in_the_lineup_is_refused_by_name() -> None:
    for ask in (lambda: three()["none"], lambda: three().cost_of("none"), lambda: three().speed("none", 1)):
        with pytest.raises(UsageError, match="no engine «none»: it has"):
            ask()


def test_data_that_had_a_say_in_one_candidate_are_refused() -> None:
    data = samples()
    tuned = Network(0.5, chosen_on=(data.identity,))
    with pytest.raises(InputError, match="was used to choose the scales"):
        lineup(Network(), {"one": Network(0.25), "two": tuned}, data)


def test_times_of_every_batch_size() -> None:
    ticks = iter(np.cumsum([0.0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6]))
    found = time_batches(Network(), {"x": rows(3)}, (2, 5), rounds=2, warm_up=1, clock=lambda: float(next(ticks)))
    assert [(t.batch, t.median_ms) for t in found] == [(2, 2500.0), (5, 5500.0)]
    assert found[0].p90_ms == pytest.approx(2900)


def test_a_batch_repeats_the_samples() -> None:
    x = rows(3)
    assert np.array_equal(batch_of({"x": x}, 5)["x"], x[[0, 1, 2, 0, 1]])
    assert np.array_equal(batch_of({"x": x}, 2)["x"], x[:2])


def test_times_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="at least one sample"):
        time_batches(Network(), {"x": rows(3)}, (0,))
    with pytest.raises(UsageError, match="at least one round"):
        time_batches(Network(), {"x": rows(3)}, (1,), rounds=0)
    with pytest.raises(InputError, match="fixes a batch of 4"):
        time_batches(Network(rows=4), {"x": rows(3)}, (1,))


def test_a_recording_answers_as_its_engine_did_in_any_order() -> None:
    data = samples()
    kept = record(Network(0.5), data).engine()
    assert lineup(Network(), {"kept": kept}, samples(40, batch=3), metrics=METRICS)["kept"].comparison == replace(
        three()["coarse"].comparison, backends=three()["coarse"].comparison.backends
    )
    backwards = {"x": data.x[::-1].copy()}
    assert np.array_equal(kept.run(backwards)["logits"], Network(0.5).run(backwards)["logits"])


def test_a_recording_answers_for_its_own_samples_alone() -> None:
    kept = record(Network(), samples()).engine()
    with pytest.raises(InputError, match="was not recorded"):
        kept.run({"x": np.zeros((1, FEATURES), np.float32)})
    with pytest.raises(InputError, match="no output"):
        kept.restrict(("hidden",))
    with pytest.raises(InputError, match="no sample"):
        record(Network(), [])


def test_real_engines_line_up() -> None:
    images = np.random.default_rng(0).normal(size=(24, 3, 16, 16)).astype(np.float32)
    with engines.ort(residual_net(), expose="quantizable") as engine:
        table = calibrate(collect(engine, [{"x": images[:12]}]), MinMax())
    built = quantize(residual_net(), table, options=QuantizeOptions())
    with (
        engines.ort(residual_net()) as fp32,
        engines.ort(built.model, optimize=False) as simulated,
        engines.ort(built.model) as fused,
    ):
        found = lineup(fp32, {"simulated": simulated, "fused": fused}, [{"x": images[12:]}], metrics=())
        times = time_batches(fused, {"x": images[:1]}, (1, 4), rounds=2, warm_up=1)
    assert 15 < (found["simulated"].sqnr_db or 0) < 60
    assert all(entry.comparison.final for entry in found.entries)
    assert [time.batch for time in times] == [1, 4]


def rows(count: int) -> AnyArray:
    return np.random.default_rng(5).normal(size=(count, FEATURES)).astype(np.float32)
