"""The real engines: a small network, quantized, beside its FP32 self."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from quantlab import engines
from quantlab.builder import QuantizedModel, QuantizeOptions, quantize
from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.methods.minmax import MinMax
from quantlab.calibration.ranges import Range
from quantlab.calibration.scale_table import ScaleTable
from quantlab.collector.collect import collect
from quantlab.comparison.comparison import CompareOptions, Comparison, compare
from quantlab.comparison.latency import measure_latency
from quantlab.comparison.tensors import TensorProbe
from quantlab.data import Preprocess, arrays
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray
from tests.graph.nets import residual_net


def images(seed: int, count: int = 24) -> AnyArray:
    return np.random.default_rng(seed).normal(size=(count, 3, 16, 16)).astype(np.float32)


def batches(x: AnyArray, size: int = 8) -> list[dict[str, AnyArray]]:
    return [{"x": x[start : start + size]} for start in range(0, len(x), size)]


@pytest.fixture(scope="module")
def table() -> ScaleTable:
    with engines.ort(residual_net(), expose="quantizable") as engine:
        return calibrate(collect(engine, batches(images(0))), MinMax())


@pytest.fixture(scope="module")
def built(table: ScaleTable) -> QuantizedModel:
    return quantize(residual_net(), table, options=QuantizeOptions())


@pytest.fixture(scope="module")
def found(table: ScaleTable, built: QuantizedModel) -> Iterator[Comparison]:
    assert table.provenance is not None
    with (
        engines.ort(residual_net(), threads=1) as fp32,
        engines.ort(built.model, optimize=False, threads=1) as int8,
        engines.ort(residual_net(), expose=built.quantized, optimize=False) as shown,
        engines.ort(built.model, expose=built.quantized, optimize=False) as shown8,
    ):
        probe = TensorProbe(shown, shown8, table=table, batch=4)
        options = CompareOptions(probe=probe, labels=np.zeros(24, np.int64))
        yield compare(fp32, int8, batches(images(1)), chosen_on=table.provenance.chosen_on, options=options)


def test_int8_comes_close_to_fp32(found: Comparison) -> None:
    assert found.samples == 24
    assert 15 < found.outputs[0].sqnr_db < 60
    assert found.agreement.score > 0.8
    assert found.final


def test_both_backends_name_runtime_and_instruction_set(found: Comparison) -> None:
    assert found.backends.fp32.startswith("onnxruntime ")
    assert "unoptimized" in found.backends.int8


def test_every_quantized_tensor_has_both_errors(found: Comparison, built: QuantizedModel) -> None:
    assert {error.tensor for error in found.tensors} == set(built.quantized)
    assert all(error.own is not None for error in found.tensors)


def test_nothing_has_accumulated_in_the_input(found: Comparison) -> None:
    errors = {error.tensor: error for error in found.tensors}
    assert errors["x"].sqnr_db == np.inf
    assert errors["x"].own_sqnr_db is not None
    assert 20 < errors["x"].own_sqnr_db < 60


def test_the_calibration_set_is_refused(table: ScaleTable, built: QuantizedModel) -> None:
    assert table.provenance is not None
    with (
        engines.ort(residual_net()) as fp32,
        engines.ort(built.model, optimize=False) as int8,
        pytest.raises(InputError, match="was used to choose the scales"),
    ):
        compare(fp32, int8, batches(images(0)), metrics=(), chosen_on=table.provenance.chosen_on)


def test_the_int8_model_itself_tells_what_chose_its_scales(built: QuantizedModel) -> None:
    with engines.ort(residual_net()) as fp32, engines.ort(built.model, optimize=False) as int8:
        assert compare(fp32, int8, batches(images(1)), metrics=()).final
        with pytest.raises(InputError, match="was used to choose the scales"):
            compare(fp32, int8, batches(images(0)[5:9]), metrics=())


def test_a_fixed_batch_is_filled_up(built: QuantizedModel) -> None:
    with (
        engines.ort(_of_four(residual_net())) as fp32,
        engines.ort(_of_four(built.model.proto), optimize=False) as int8,
    ):
        fixed = compare(fp32, int8, batches(images(1, 10), 4), metrics=())
    with engines.ort(residual_net()) as fp32, engines.ort(built.model, optimize=False) as int8:
        free = compare(fp32, int8, batches(images(1, 10), 4), metrics=())
    assert fixed.samples == 10
    assert fixed.agreement == free.agreement
    assert fixed.outputs[0].sqnr_db == pytest.approx(free.outputs[0].sqnr_db, abs=0.5)


def test_samples_that_changed_class_have_pictures_where_the_data_have(table: ScaleTable, tmp_path: Path) -> None:
    x = np.random.default_rng(2).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "photos.npz", x=x)
    photos = arrays(tmp_path / "photos.npz", preprocess=Preprocess(scale=1 / 64, mean=2.0, std=1.0), batch=8)
    spoilt = quantize(residual_net(), table.override("x", Range(-0.01, 0.01)))
    with engines.ort(residual_net()) as fp32, engines.ort(spoilt.model, optimize=False) as int8:
        seen = compare(fp32, int8, photos, metrics=()).samples_table
        floats = [dict(batch) for batch in photos]
        blind = compare(fp32, int8, floats, metrics=()).samples_table
    assert seen is not None
    assert blind is not None
    assert set(seen.pictures) == set(seen.flipped) == set(blind.flipped) != set()
    assert not blind.pictures


def _of_four(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the network with a batch of four."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(proto)
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    return fixed


def test_latency_is_measured(built: QuantizedModel) -> None:
    with engines.ort(residual_net()) as fp32, engines.ort(built.model) as int8:
        latency = measure_latency(fp32, int8, {"x": images(1, 1)}, rounds=3, warm_up=1)
    assert (latency.batch, len(latency.fp32)) == (1, 3)
    assert latency.fp32_ms > 0 < latency.int8_ms
