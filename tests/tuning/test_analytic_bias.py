"""Biases that take back what rounding the weights shifts, from FP32's statistics alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from quantlab.builder import QuantizeOptions
from quantlab.errors import InputError
from quantlab.graph.model import load_model
from quantlab.graph.weights import weight_row
from quantlab.numerics.arrays import AnyArray, Tensors
from quantlab.tuning.analytic_bias import analytic_bias
from tests.graph.nets import residual_net
from tests.graph.quantizing import constant
from tests.tuning.nets import Rows, grouped_net, int8_outputs, matmul_net, outputs, smooth, table_of, tokens

IMAGES = {"x": smooth(64)}


def corrected(model: onnx.ModelProto, inputs: Tensors, samples: int = 64) -> onnx.ModelProto:
    found, _ = analytic_bias(
        load_model(model), table_of(model, inputs), QuantizeOptions(), Rows(inputs), samples=samples, threads=1
    )
    return found.proto


def rounded(weight: AnyArray) -> AnyArray:
    scale = np.array(weight_row("w", weight, 0).scale, np.float32).reshape(-1, 1, 1, 1)
    return np.asarray(np.clip(np.rint(weight / scale), -128, 127) * scale)


def test_the_first_layer_s_output_has_fp32_s_mean_again() -> None:
    model, found = residual_net(), corrected(residual_net(), IMAGES)
    weight = constant(model, "w1")
    for name in ("w1", "w2", "w3"):
        assert np.array_equal(constant(found, name), constant(model, name))
    shift = constant(found, "b1").astype(np.float64) - constant(model, "b1")
    padded = np.pad(IMAGES["x"], ((0, 0), (0, 0), (1, 1), (1, 1))).astype(np.float64)
    last = IMAGES["x"].shape[2] - 1  # of 8 windows, two apart
    taps = [[padded[:, :, i : i + last : 2, j : j + last : 2].mean(axis=(0, 2, 3)) for j in range(3)] for i in range(3)]
    mean = np.array(taps).transpose(2, 0, 1)
    wanted = ((weight - rounded(weight)) * mean).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(shift, wanted, rtol=1e-3, atol=1e-6)
    assert np.abs(wanted).max() > 1e-5


def test_the_head_that_stays_float_keeps_its_bias() -> None:
    assert np.array_equal(constant(corrected(residual_net(), IMAGES), "b6"), constant(residual_net(), "b6"))


def test_the_outputs_mean_comes_closer_to_fp32_s() -> None:
    model, table = residual_net(), table_of(residual_net(), IMAGES)
    exact, feed = outputs(model, IMAGES), IMAGES
    before = int8_outputs(model, table, feed, "tensorrt")
    found, rows = analytic_bias(load_model(model), table, QuantizeOptions(), Rows(feed), threads=1)
    after = int8_outputs(found, rows, feed, "tensorrt")
    gaps = [np.abs((each - exact).mean(axis=0)).mean() for each in (before, after)]
    assert gaps[1] < gaps[0]


@pytest.mark.parametrize("batch", [1, 5, 64])
def test_the_data_s_batches_change_no_more_than_the_last_bits(batch: int) -> None:
    model, table = residual_net(), table_of(residual_net(), IMAGES)
    one, other = (
        analytic_bias(load_model(model), table, QuantizeOptions(), Rows(IMAGES, size), threads=1)[0].proto
        for size in (16, batch)
    )
    for name in ("b1", "b2", "b3", "b4", "b5"):
        np.testing.assert_allclose(constant(one, name), constant(other, name), rtol=1e-5, atol=1e-7)


def test_groups_and_matrices_are_corrected_too() -> None:
    given = {"x": smooth(16, channels=4, size=8)}
    assert corrected(grouped_net(), given).SerializeToString() != grouped_net().SerializeToString()
    sequences = tokens(16).inputs
    assert len(corrected(matmul_net(), sequences).graph.node) >= len(matmul_net().graph.node)


def test_nan_is_refused() -> None:
    spoilt = IMAGES["x"].copy()
    spoilt[3, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        analytic_bias(
            load_model(residual_net()),
            table_of(residual_net(), IMAGES),
            QuantizeOptions(),
            Rows({"x": spoilt}),
            threads=1,
        )
