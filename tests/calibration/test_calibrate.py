"""Calibrating: histograms, a method, a scheme and rules in; a row a tensor out."""

import math

import numpy as np
import pytest

from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.expected_error import clipped_share, expected_sqnr_db
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.methods.entropy import Entropy
from quantlab.calibration.methods.minmax import MinMax
from quantlab.calibration.methods.percentile import Percentile
from quantlab.calibration.methods.squared_error import SquaredError
from quantlab.calibration.methods.tensorrt import TensorRTEntropy2, TensorRTMinMax
from quantlab.calibration.provenance import Provenance
from quantlab.calibration.ranges import Range
from quantlab.calibration.rules import Fixed, Rule
from quantlab.calibration.schemes import Affine, Symmetric
from quantlab.errors import InputError, UsageError
from quantlab.numerics.histogram import Histogram
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram
from tests.numerics.tensors import activation, f32

HISTOGRAMS = {
    "input": Histogram.of(activation("uniform")),
    "/block.0/Relu_output_0": Histogram.of(activation("relu, 69 % zeros")),
    "/block.1/Relu_output_0": Histogram.of(activation("laplace with an outlier of 40")),
    "dead": Histogram.of(np.zeros(9, np.float32)),
}
PROVENANCE = Provenance("sha256:1", "net.onnx", (), {"quantlab": "0"}, "log-linear")


def tensorrt(*values: float) -> TensorRTHistogram:
    x = f32(*values)
    return TensorRTHistogram.starting(float(np.abs(x).max()), batch=1).added(x)


def test_every_tensor_gets_a_row_in_order_with_all_that_is_known() -> None:
    table = calibrate(HISTOGRAMS, Percentile(99.0), scheme=Affine("uint8"))
    assert list(table) == list(HISTOGRAMS)
    for tensor, row in table.items():
        seen = HISTOGRAMS[tensor]
        assert row.observed == Range(seen.low, seen.high)
        assert row.chosen == Percentile(99.0)(seen)
        assert row.params.scale == Affine("uint8").params(row.chosen).scale
        assert row.params.zero_point == Affine("uint8").params(row.chosen).zero_point
        assert (row.dtype, row.scheme, row.method, row.role) == (
            "uint8",
            "affine",
            "Percentile(p=99.0, of='all')",
            "activation",
        )
        assert row.clipped == clipped_share(seen, row.params)
        assert row.sqnr_db == expected_sqnr_db(seen, row.params)


def test_squared_error_and_symmetric_bytes_are_the_defaults() -> None:
    assert calibrate(HISTOGRAMS) == calibrate(HISTOGRAMS, SquaredError(), scheme=Symmetric("int8"))


def test_a_tensor_of_zeros_gets_a_harmless_row() -> None:
    row = calibrate(HISTOGRAMS, Entropy())["dead"]
    assert row.scale == (float(np.float32(1 / 127)),)
    assert (row.clipped, row.sqnr_db, row.chosen) == (0.0, math.inf, Range(0.0, 0.0))


def test_the_first_rule_that_matches_wins() -> None:
    rules = (
        Rule("/block.0/*", method=MinMax()),
        Rule("/block.*", method=Percentile(90.0), scheme=Affine("int8")),
        Rule("dead", scheme=Symmetric("uint8")),
    )
    table = calibrate(HISTOGRAMS, Entropy(), rules=rules)
    assert [row.method for row in table.rows] == [
        "Entropy(dialect='quantlab')",
        "MinMax()",
        "Percentile(p=90.0, of='all')",
        "Entropy(dialect='quantlab')",
    ]
    assert [(row.scheme, row.dtype) for row in table.rows] == [
        ("symmetric", "int8"),
        ("symmetric", "int8"),
        ("affine", "int8"),
        ("symmetric", "uint8"),
    ]


def test_rules_may_come_from_a_generator() -> None:
    table = calibrate(HISTOGRAMS, rules=(Rule(name, method=Fixed(-1.0, 2.0)) for name in list(HISTOGRAMS)))
    assert {row.chosen for row in table.rows} == {Range(-1.0, 2.0)}
    assert {row.method for row in table.rows} == {"Fixed(low=-1.0, high=2.0)"}


def test_a_rule_that_matches_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"rule for «conv\*» matches none of the 4 tensors"):
        calibrate(HISTOGRAMS, rules=[Rule("conv*", method=MinMax())])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_tensor_with_nan_or_infinity_is_refused_by_name(value: float) -> None:
    with pytest.raises(InputError, match="«conv1» has 2 values that are NaN or infinite"):
        calibrate({"conv1": Histogram.of(f32(1.0, value, value))})


def test_a_tensor_that_no_sample_reached_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="«branch» has no values"):
        calibrate({"branch": Histogram.of(np.zeros(0, np.float32))})


def test_a_tensor_that_no_sample_reached_is_refused_on_tensorrts_grid_too() -> None:
    with pytest.raises(InputError, match="«branch» has no values"):
        calibrate({"branch": TensorRTHistogram.starting(0.0, batch=1)}, TensorRTMinMax())


def test_histograms_on_tensorrts_grid_get_rows_without_what_is_not_known() -> None:
    table = calibrate({"a": tensorrt(0.5, 2.0), "b": tensorrt(-4.0, 1.0)}, TensorRTMinMax())
    assert [row.observed for row in table.rows] == [Range(0.0, 2.0), Range(-4.0, 4.0)]
    assert [row.amax for row in table.rows] == pytest.approx([2.0, 4.0])
    assert {(row.clipped, row.sqnr_db) for row in table.rows} == {(None, None)}


def test_a_wrong_pairing_of_method_and_grid_is_one_sentence() -> None:
    with pytest.raises(
        UsageError, match=r"^TensorRTEntropy2\(\) needs a histogram collected with grid=TensorRTGrid"
    ) as one:
        calibrate({"a": HISTOGRAMS["input"]}, TensorRTEntropy2())
    with pytest.raises(
        UsageError, match=r"^MinMax\(\) needs a histogram of the default grid, not TensorRTHistogram"
    ) as two:
        calibrate({"a": tensorrt(1.0)}, MinMax())
    assert all(str(error.value).endswith(".") and "\n" not in str(error.value) for error in (one, two))


def test_shapes_and_provenance_go_on_to_the_table() -> None:
    histograms = HistogramSet(HISTOGRAMS, PROVENANCE, {"input": ("N", 3, 8, None)}, {})
    table = calibrate(histograms, MinMax())
    assert table.provenance == PROVENANCE
    assert (table["input"].shape, table["dead"].shape) == (("N", 3, 8, None), None)


def test_calibrating_leaves_the_histograms_as_they_are() -> None:
    before = {tensor: seen.counts.copy() for tensor, seen in HISTOGRAMS.items()}
    calibrate(HISTOGRAMS, Entropy("pytorch-quantization"))
    assert all(np.array_equal(before[tensor], seen.counts) for tensor, seen in HISTOGRAMS.items())
