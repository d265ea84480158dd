"""Comparing in parts gives the results of one pass, to the bit and in the samples' order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import quantlab as ql
from quantlab.calibration.methods.minmax import MinMax
from quantlab.comparison.comparison import CompareOptions, Comparison
from quantlab.comparison.sample_file import columns_of
from quantlab.comparison.tensors import TensorProbe
from quantlab.data import arrays
from quantlab.engines import ort, simulation
from quantlab.errors import InputError, UsageError
from quantlab.metrics.top_k import TopK
from quantlab.numerics.arrays import AnyArray, Tensors
from quantlab.workers.declared import processes
from quantlab.workers.seen import Seen, merged_seen
from quantlab.workers.spread import Spread
from tests.graph.nets import residual_net


class Margin:
    """The distance of the two highest scores: a metric with one number a sample and its own score."""

    name, higher_is_better, needs_labels = "margin", True, False

    def per_sample(self, outputs: Tensors, labels: object) -> AnyArray:
        best = np.sort(outputs["y"], axis=1)
        return np.asarray(best[:, -1] - best[:, -2])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled evaluation set, and calibrated scales' INT8 model."""
    folder = tmp_path_factory.mktemp("place")
    random = np.random.default_rng(5)
    rows = random.standard_normal((90, 3, 16, 16)).astype(np.float32)
    np.savez(folder / "evaluation.npz", x=rows, label=random.integers(0, 5, 90))
    np.savez(folder / "calibration.npz", x=random.standard_normal((8, 3, 16, 16)).astype(np.float32))
    with ort(residual_net(), expose="quantizable", threads=1) as engine:
        table = ql.calibrate(ql.collect(engine, arrays(folder / "calibration.npz")), MinMax())
    ql.save(table, folder / "scales.json")
    ql.save(ql.quantize(residual_net(), table), folder / "int8.onnx")
    return folder


def compared(place: Path, on: Spread | None, *, batch: int = 16, labels: AnyArray | None = None) -> Comparison:
    data = arrays(place / "evaluation.npz", batch=batch)
    table = ql.load(place / "scales.json")
    with (
        ort(residual_net(), threads=1) as fp32,
        simulation(place / "int8.onnx", threads=1) as int8,
        ort(residual_net(), expose=("a1", "a2"), threads=1) as one,
        ort(place / "int8.onnx", expose=("a1", "a2"), threads=1, optimize=False) as two,
    ):
        probe = TensorProbe(one, two, table=table)  # type: ignore[arg-type]
        options = CompareOptions(probe=probe, on=on, final=False, labels=labels)
        return ql.compare(fp32, int8, data, metrics=(TopK(1), TopK(2), Margin()), options=options)


def assert_same(one: Comparison, two: Comparison) -> None:
    assert one.to_json() == two.to_json()
    assert one.samples_table is not None
    assert two.samples_table is not None
    (about, columns), (other_about, others) = columns_of(one.samples_table), columns_of(two.samples_table)
    assert about == other_about
    assert {name: column.tobytes() for name, column in columns.items()} == {
        name: column.tobytes() for name, column in others.items()
    }


@pytest.mark.parametrize("shard", [1, 32, 64])
def test_parts_compared_here_are_the_results_of_one_pass(place: Path, shard: int) -> None:
    assert_same(compared(place, Spread(shard=shard)), compared(place, None))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_processes_give_the_results_of_one_pass(place: Path, workers: int) -> None:
    assert_same(compared(place, processes(workers)), compared(place, None))


def test_labels_in_the_data_s_order_keep_to_their_samples(place: Path) -> None:
    labels = np.random.default_rng(9).integers(0, 5, 90)
    on = Spread(shard=16)
    assert_same(compared(place, on, labels=labels), compared(place, None, labels=labels))


def test_other_labels_or_metrics_take_no_part_of_these(place: Path, tmp_path: Path) -> None:
    labels = np.random.default_rng(9).integers(0, 5, 90)
    on = Spread(shard=16, parts=tmp_path / "parts")
    compared(place, on)
    assert_same(compared(place, on, labels=labels), compared(place, None, labels=labels))
    kept = len(list((tmp_path / "parts").iterdir()))
    assert_same(compared(place, on), compared(place, None))
    assert len(list((tmp_path / "parts").iterdir())) == kept  # nothing was counted again


def test_an_engine_that_cannot_be_opened_elsewhere_is_refused(place: Path) -> None:
    data = arrays(place / "evaluation.npz")
    with ort(residual_net(), threads=1) as engine:
        recorded = ql.record(engine, data).engine()
        options = CompareOptions(on=processes(2), final=False)
        with pytest.raises(UsageError, match="cannot be opened anew by workers"):
            ql.compare(engine, recorded, data, options=options)


def test_merging_no_part_is_refused() -> None:
    with pytest.raises(InputError, match="nothing to compare on"):
        merged_seen([])
    assert merged_seen([Seen.without([]), Seen.without([])]).observations == {}
