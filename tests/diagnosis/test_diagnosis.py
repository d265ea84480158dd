"""Everything together, on the network that ships."""

from __future__ import annotations

import json

import numpy as np
import pytest

from quantlab import engines
from quantlab.builder import QuantizedModel, quantize
from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.methods.entropy import Entropy
from quantlab.calibration.methods.tensorrt import TensorRTMinMax
from quantlab.calibration.scale_table import ScaleTable
from quantlab.collector.collect import collect
from quantlab.diagnosis.diagnosis import DiagnoseOptions, Diagnosis, diagnose
from quantlab.errors import InputError, StaleError, UsageError
from quantlab.numerics.arrays import F32
from tests.diagnosis.fashion import NETWORK, batches, pixels, prepared
from tests.networks import image_batch, small_cnn

ONE = DiagnoseOptions(threads=1)


@pytest.fixture(scope="module")
def table() -> ScaleTable:
    with engines.ort(NETWORK, expose="quantizable", threads=1) as engine:
        return calibrate(collect(engine, [{"image": prepared(pixels(100))}]))


@pytest.fixture(scope="module")
def int8(table: ScaleTable) -> QuantizedModel:
    return quantize(NETWORK, table)


@pytest.fixture(scope="module")
def found(table: ScaleTable, int8: QuantizedModel) -> Diagnosis:
    calibration, evaluation = batches(prepared(pixels(100))), batches(prepared(pixels(200, part="evaluation")))
    return diagnose(NETWORK, calibration, evaluation=evaluation, int8=int8, table=table, options=ONE)


def test_every_part_says_a_sentence(found: Diagnosis) -> None:
    assert len(found.findings) == 1 + 1 + 2 + 1 + 1
    assert all(sentence.endswith(".") for sentence in found.findings)
    assert not found.preprocessing.suspicious
    assert found.drift is not None
    assert found.drift.drifted == ()
    assert found.flips is not None
    assert found.flips.samples == 200


def test_a_line_a_tensor(found: Diagnosis) -> None:
    frame = found.frame()
    assert list(frame["tensor"]) == [extreme.tensor for extreme in found.extremes]
    assert {"set_by", "± MinMax()", "± SquaredError()", "times_noise"} <= set(frame.columns)
    assert not frame.isna().any().any()
    assert found.flips is not None
    assert len(found.flips_frame()) == len(found.flips.flipped)


def test_it_comes_back_from_json(found: Diagnosis) -> None:
    assert Diagnosis.from_json(json.dumps(found.to_json())) == found


@pytest.mark.parametrize("field", ["extremes", "convergence", "preprocessing"])
def test_damaged_json_is_refused(found: Diagnosis, field: str) -> None:
    with pytest.raises(InputError, match=field):
        Diagnosis.from_json(found.to_json() | {field: 3})


def test_it_shows_itself_and_escapes_names() -> None:
    net = small_cnn()
    net.graph.name = "<b>net"
    seen = diagnose(net, [{"image": image_batch(9)}], options=ONE)
    html = seen._repr_html_()
    assert "&lt;b&gt;net" in html
    assert "<b>net" not in html
    assert (seen.drift, seen.flips) == (None, None)


def test_a_stream_is_read_once_and_its_order_says_nothing() -> None:
    values = image_batch(40)
    one = diagnose(small_cnn(), iter([{"image": values}]), options=ONE)
    two = diagnose(small_cnn(), iter([{"image": values[::-1].copy()}]), options=ONE)
    assert one.convergence == two.convergence
    assert one.preprocessing == two.preprocessing
    assert [e.value for e in one.extremes] == [e.value for e in two.extremes]


@pytest.mark.parametrize("values", [np.zeros((5, 3, 12, 12), np.float32), image_batch(1)])
def test_zeros_and_a_single_sample_are_diagnosed(values: F32) -> None:
    seen = diagnose(small_cnn(), [{"image": values}], evaluation=[{"image": values}], options=ONE)
    assert Diagnosis.from_json(seen.to_json()) == seen
    assert "too few to tell" in seen.findings[2]


def test_progress_runs_over_all_passes(int8: QuantizedModel) -> None:
    told: list[tuple[int, int | None]] = []
    options = DiagnoseOptions(threads=1, progress=lambda done, total: told.append((done, total)))
    values = batches(prepared(pixels(20)))
    diagnose(NETWORK, values, evaluation=values, int8=int8, options=options)
    assert told[-1][0] == 60
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_nan_is_refused_or_left_out() -> None:
    values = image_batch(12)
    values[3, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        diagnose(small_cnn(), [{"image": values}], options=ONE)
    seen = diagnose(small_cnn(), [{"image": values}], options=DiagnoseOptions(threads=1, nonfinite="count"))
    assert "not judged" in seen.findings[0]
    assert Diagnosis.from_json(seen.to_json()) == seen


def test_what_belongs_to_another_model_is_refused(table: ScaleTable, int8: QuantizedModel) -> None:
    values = [{"image": image_batch(3)}]
    with pytest.raises(StaleError, match="made for"):
        diagnose(small_cnn(), values, table=table, options=ONE)
    with pytest.raises(StaleError, match="made for"):
        diagnose(small_cnn(), values, int8=int8, options=ONE)


def test_options_that_mean_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="at least one method"):
        DiagnoseOptions(methods=())
    with pytest.raises(UsageError, match="tolerance"):
        DiagnoseOptions(tolerance=0)
    with pytest.raises(UsageError, match=r"such as ql\.SquaredError"):
        DiagnoseOptions(methods=(Entropy,))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="TensorRTMinMax"):
        DiagnoseOptions(methods=(TensorRTMinMax(),))  # type: ignore[arg-type]


def test_no_sample_is_refused() -> None:
    with pytest.raises(InputError, match="no sample"):
        diagnose(small_cnn(), [{"image": image_batch(0)}], options=ONE)
