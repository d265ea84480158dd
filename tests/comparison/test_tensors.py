"""Errors of inner tensors: own and accumulated, against the formulas written out."""

from __future__ import annotations

import numpy as np
import pytest

from quantlab.calibration.scale_table import Scale, ScaleTable
from quantlab.comparison.tensors import TensorProbe, TensorSums
from quantlab.data.batch import Batch
from quantlab.errors import InputError, UsageError
from quantlab.numerics.affine import QuantParams, fake_quantize
from quantlab.numerics.error_sums import ErrorSums
from tests.comparison.networks import FIRST, HIDDEN, SECOND, Network, samples

BOTH = ("hidden", "logits")
TABLE = ScaleTable((Scale("hidden", (float(np.float32(0.05)),)),))


def probe(**options: object) -> TensorProbe:
    return TensorProbe(Network(0.0, BOTH), Network(0.125, BOTH), **options)  # type: ignore[arg-type]


def batch() -> Batch:
    return Batch({"x": samples(12).x})


def test_accumulated_is_the_int8_networks_tensor_against_fp32s() -> None:
    x = batch()["x"].astype(np.float64)
    exact = np.maximum(x @ FIRST, 0)
    got = np.maximum(x @ (np.rint(FIRST / 0.125) * 0.125), 0)
    found = probe(table=TABLE).measure(batch())["hidden"].error("hidden")
    assert found.sqnr_db == pytest.approx(ErrorSums.of(exact, got).sqnr_db)
    assert found.cosine == pytest.approx(ErrorSums.of(exact, got).cosine)
    assert found.max_error == pytest.approx(np.abs(exact - got).max())


def test_own_is_what_quantizing_does_to_fp32s_tensor() -> None:
    exact = np.maximum(batch()["x"].astype(np.float64) @ FIRST, 0)
    found = probe(table=TABLE).measure(batch())["hidden"].error("hidden")
    assert found.own_sqnr_db == pytest.approx(ErrorSums.of(exact, fake_quantize(exact, TABLE["hidden"].params)).sqnr_db)


def test_a_tensor_without_a_scale_has_no_own_error() -> None:
    found = probe(table=TABLE).measure(batch())["logits"].error("logits")
    assert (found.own, found.own_sqnr_db) == (None, None)


def test_channels_have_their_own_scales() -> None:
    scales = np.linspace(0.01, 0.2, HIDDEN).astype(np.float32)
    row = Scale.of("hidden", QuantParams(scales, np.zeros(HIDDEN, np.int64), axis=1))
    exact = np.maximum(batch()["x"].astype(np.float64) @ FIRST, 0)
    found = probe(table=ScaleTable((row,))).measure(batch())["hidden"].error("hidden")
    assert found.own_sqnr_db == pytest.approx(ErrorSums.of(exact, fake_quantize(exact, row.params)).sqnr_db)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_scales_that_do_not_fit_the_channels_are_refused(axis: int) -> None:
    row = Scale("hidden", (0.5, 0.25), (0, 0), axis=axis)
    with pytest.raises(InputError, match=rf"«hidden» is \[12, 8\], but its table has 2 scales along axis {axis}"):
        probe(table=ScaleTable((row,))).measure(batch())


@pytest.mark.parametrize("size", [1, 5, 12, 100])
def test_a_smaller_engine_batch_changes_no_bit(size: int) -> None:
    whole, cut = probe(table=TABLE), probe(table=TABLE, batch=size)
    assert cut.measure(batch()) == whole.measure(batch())
    assert cut.fp32.largest_batch == min(size, 12)  # type: ignore[attr-defined]


def test_tensors_that_both_engines_show_are_matched_by_name() -> None:
    found = TensorProbe(Network(0.0, BOTH), Network(0.125, ("logits",)))
    assert found.names == ("logits",)
    assert set(found.measure(batch())) == {"logits"}


def test_only_the_tensors_asked_for_are_compared() -> None:
    assert set(probe(tensors=("logits",)).measure(batch())) == {"logits"}


def test_a_tensor_that_an_engine_does_not_show_is_refused() -> None:
    with pytest.raises(InputError, match="The INT8 engine does not show «hidden»: open it with these tensors exposed"):
        TensorProbe(Network(0.0, BOTH), Network(0.5), tensors=("hidden",))


def test_engines_without_a_tensor_in_common_are_refused() -> None:
    with pytest.raises(InputError, match="show no tensor of the same name"):
        TensorProbe(Network(0.0, ("hidden",)), Network(0.5, ("logits",)))


def test_an_engine_batch_of_0_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 1, not 0"):
        probe(batch=0)


def test_another_shape_in_the_int8_network_is_refused() -> None:
    with pytest.raises(InputError, match=r"«a» is \[2, 3\] in FP32 and \[2, 4\] in INT8"):
        TensorSums.of("a", np.zeros((2, 3)), np.zeros((2, 4)), samples=2)


def test_merging_equals_counting_together() -> None:
    rows = batch()["x"]
    one, two = (probe(table=TABLE).measure(Batch({"x": part})) for part in (rows[:5], rows[5:]))
    together = probe(table=TABLE).measure(batch())
    assert {name: one[name].merge(two[name]) for name in one} == together


def test_the_networks_are_what_they_claim() -> None:
    x = batch()["x"]
    found = Network(0.0, BOTH).run({"x": x})["logits"]
    assert np.allclose(found, np.maximum(x.astype(np.float64) @ FIRST, 0) @ SECOND)
