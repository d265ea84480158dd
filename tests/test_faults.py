"""Twelve faults of existing calibration tools, none of which quantlab has; each test is named after its fault."""

import time
import tracemalloc
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from quantlab.builder import chosen_on, quantize
from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.methods.entropy import Entropy
from quantlab.calibration.methods.minmax import MinMax
from quantlab.calibration.methods.percentile import Percentile
from quantlab.calibration.methods.squared_error import SquaredError
from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.trt_cache import cache_of, header, parse_cache, render_cache
from quantlab.calibration.weight_methods import MaxAbs
from quantlab.collector.collect import CollectOptions, collect
from quantlab.data import random_data
from quantlab.engines import ort
from quantlab.errors import StaleError
from quantlab.graph.model import load_model
from quantlab.numerics.affine import QuantParams, fake_quantize
from quantlab.numerics.arrays import F32, AnyArray
from quantlab.numerics.divergence import DIALECT_NAMES, entropy_threshold
from quantlab.numerics.histogram import Histogram
from quantlab.storage.calibration_cache import check_cache, write_cache
from quantlab.storage.histograms_h5 import read_histograms, write_histograms
from quantlab.storage.scale_table_json import read_scale_table, write_scale_table
from tests.graph.nets import net
from tests.numerics.tensors import activation, f32

METHODS: list[Any] = [
    MinMax(),
    Percentile(99.9),
    Percentile(99.9, "nonzero"),
    SquaredError(),
    *(Entropy(dialect) for dialect in ("quantlab", "gtc2017", "pytorch-quantization")),
]
IMAGES: F32 = np.random.default_rng(0).standard_normal((11, 1, 16, 16)).astype(np.float32)


def network(side: int = 16, channels: int = 4) -> onnx.ModelProto:
    """A convolution and a ReLU, at full resolution, and a classifier."""
    text = (
        f"g (float[N,1,{side},{side}] x) => (float[N,2] y) {{ c = Conv<pads = [1, 1, 1, 1]>(x, w) \n r = Relu(c) \n"
        "p = GlobalAveragePool(r) \n f = Flatten(p) \n y = MatMul(f, v) }"
    )
    return net(text, w=(channels, 1, 3, 3), v=(channels, 2))


def collected(batches: Sequence[AnyArray], **options: Any) -> HistogramSet:
    with ort(network(), expose="all", threads=1) as engine:
        return collect(engine, [{"x": batch} for batch in batches], options=CollectOptions(**options))


def split(x: F32, sizes: Sequence[int]) -> list[F32]:
    return list(np.split(x, np.cumsum(sizes)[:-1]))


def test_fault_01_the_first_batch_does_not_fix_a_bin_width_that_later_batches_explode() -> None:
    start = time.perf_counter()
    seen = Histogram.of(f32(1e-5)).merge(Histogram.of(f32(1.0)))
    assert time.perf_counter() - start < 1.0  # 27 s and 205,437,408 bins elsewhere
    assert seen.counts.shape == Histogram.of(f32(1e-30)).counts.shape == (2, 2817)
    assert seen == Histogram.of(f32(1.0, 1e-5))
    assert 1e-5 <= Percentile(50.0)(seen).high <= 2.0**-12  # all that lies 13 octaves below the maximum shares a bin


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_fault_02_thresholds_do_not_change_with_batch_order_or_size(method: Any) -> None:
    x = activation("laplace with an outlier of 40", 16_000)
    expected = method(Histogram.of(x))
    rng = np.random.default_rng(1)
    for batch in (1000, 4000, 16_000):
        for _ in range(3):
            parts = [Histogram.of(rng.permutation(part)) for part in rng.permutation(x).reshape(-1, batch)]
            assert method(reduce(Histogram.merge, parts)) == expected


def test_fault_02_histograms_of_a_network_do_not_change_with_batch_order_or_size() -> None:
    expected = dict(collected([IMAGES]))
    assert set(expected) == {"x", "c", "r", "p", "f", "y"}
    for images in (IMAGES, IMAGES[::-1]):
        for sizes in ([1] * 11, [4, 4, 3], [3, 8]):
            assert dict(collected(split(images, sizes))) == expected


@pytest.mark.parametrize("doublings", [25, 32, 40])
def test_fault_03_counts_neither_saturate_nor_overflow(doublings: int) -> None:
    once = Histogram.of(f32(-2.0, 0.0, 0.0, 1.0, np.nan))
    seen = reduce(lambda one, _: one.merge(one), range(doublings), once).merge(Histogram.of(f32(1.0)))
    assert seen.total == 4 * 2**doublings + 1 > 2**24
    assert (seen.zeros, seen.nan, int(seen.counts[1].sum())) == (2**doublings * 2, 2**doublings, 2**doublings + 1)
    assert Percentile(50.0)(seen).amax == pytest.approx(1.0, rel=1 / 128)
    assert calibrate({"x": replace_nan(seen)}, SquaredError())["x"].amax == pytest.approx(2.0)


def replace_nan(seen: Histogram) -> Histogram:
    return Histogram(seen.counts, seen.top, seen.zeros, 0, 0, 0, seen.low, seen.high)


def test_fault_04_the_activations_of_all_batches_are_not_kept() -> None:
    few, many = peak_memory(32), peak_memory(160)
    everything = 160 * 2 * 16 * 64 * 64 * 4
    assert many < 1.05 * few
    assert many < everything / 2


def peak_memory(samples: int) -> int:
    """Peak of NumPy's own allocations while 0.5 MiB of activations a sample are counted."""

    def batches() -> Iterator[dict[str, AnyArray]]:
        rng = np.random.default_rng(0)
        for _ in range(samples // 8):
            yield {"x": rng.standard_normal((8, 1, 64, 64), dtype=np.float32)}

    with ort(network(64, 16), expose=("c", "r"), threads=1) as engine:
        tracemalloc.start()
        try:
            histograms = collect(engine, batches(), options=CollectOptions(workers=1))
            assert histograms["c"].total == samples * 16 * 64 * 64  # type: ignore[union-attr]
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("budget", [1, 20_000, 60_000, 512 * 2**20])
def test_fault_05_no_memory_limit_drops_data(budget: int) -> None:
    limited = collected(split(IMAGES, [4, 4, 3]), budget=budget)
    elements = {"x": 256, "c": 1024, "r": 1024, "p": 4, "f": 4, "y": 2}
    assert {tensor: seen.total for tensor, seen in limited.items()} == {  # type: ignore[union-attr]
        tensor: 11 * size for tensor, size in elements.items()
    }
    assert dict(limited) == dict(collected([IMAGES]))


@pytest.mark.parametrize("p", [1.0, 50.0, 99.0, 99.99])
@pytest.mark.parametrize("zeros", [10, 1000, 1_000_000])
def test_fault_06_a_percentile_is_never_zero_where_the_zeros_reach_it(p: float, zeros: int) -> None:
    seen = Histogram.of(np.append(np.zeros(zeros, np.float32), f32(0.5, 2.0)))
    for method in (Percentile(p), Percentile(p, "nonzero")):
        assert 0.5 <= method(seen).high <= 2.0


@pytest.mark.parametrize("dialect", DIALECT_NAMES)
def test_fault_07_a_search_does_not_edit_its_histogram(dialect: str) -> None:
    counts = np.random.default_rng(0).integers(0, 100, 300)
    before = counts.copy()
    first = entropy_threshold(counts, 1.0, dialect=dialect)
    assert np.array_equal(counts, before)
    assert entropy_threshold(counts, 1.0, dialect=dialect) == first


def test_fault_08_no_channel_of_a_weight_is_clipped() -> None:
    weight = np.random.default_rng(0).standard_normal((16, 8, 3, 3)).astype(np.float32)
    weight[3] *= 100
    scale = MaxAbs()(weight, 0)
    got = fake_quantize(weight, QuantParams(scale, np.zeros(16, np.int64), "int8", 0))
    assert np.all(np.abs(weight - got).max(axis=(1, 2, 3)) <= scale * 0.5001)  # 12.5 % of the range elsewhere
    table = calibrate(collected([IMAGES]), MinMax())
    for row in quantize(network(), table).weights:
        initializer = next(i for i in network().graph.initializer if i.name == row.tensor)
        values = onnx.numpy_helper.to_array(initializer)
        others = tuple(i for i in range(values.ndim) if i != row.axis)
        assert np.allclose(np.abs(values).max(axis=others), 127 * np.array(row.scale), rtol=1e-6)


def test_fault_09_the_cache_writer_keeps_the_larger_magnitude() -> None:
    table = calibrate({"x": Histogram.of(f32(-14.2, 0.5)), "y": Histogram.of(f32(-5, -1))}, MinMax())
    text = render_cache(cache_of(table, header("8.6.1", "EntropyCalibration2")))
    scales = parse_cache(text).scales
    assert scales["x"] * 127 == pytest.approx(14.2)
    assert scales["y"] * 127 == pytest.approx(5.0)


@pytest.mark.parametrize("sizes", [[4, 4, 3], [10, 1], [1, 10], [11]])
def test_fault_10_a_ragged_last_batch_is_counted_and_does_not_crash(sizes: list[int]) -> None:
    seen = collected(split(IMAGES, sizes))
    assert seen["x"] == Histogram.of(IMAGES)
    assert seen["y"].total == 22  # type: ignore[union-attr]


def test_fault_11_whatever_random_data_calibrated_says_so_for_ever(tmp_path: Path) -> None:
    with ort(network(), expose="quantizable", threads=1) as engine:
        histograms = collect(engine, random_data(engine.inputs, 4, 0))
    write_histograms(tmp_path / "h.h5", histograms)
    table = calibrate(read_histograms(tmp_path / "h.h5"))
    write_scale_table(tmp_path / "t.json", table)
    stored = read_scale_table(tmp_path / "t.json")
    assert [data.random for data in provenance(stored)] == [True]
    assert [data.random for data in chosen_on(quantize(network(), stored).model)] == [True]
    real = calibrate(collected([IMAGES]))
    assert [data.random for data in provenance(real)] == [False]


def provenance(table: ScaleTable) -> tuple[Any, ...]:
    assert table.provenance is not None
    return table.provenance.chosen_on


def test_fault_12_scales_of_another_model_are_refused(tmp_path: Path) -> None:
    table = calibrate(collected([IMAGES]), MinMax())
    other = network()
    other.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((4, 1, 3, 3), np.float32), "w"))
    with pytest.raises(StaleError, match="the model has changed"):
        quantize(other, table)
    cache = tmp_path / "net.cache"
    write_cache(cache, table, model_tensors=tuple(table), version="8.6.1", algorithm="EntropyCalibration2")
    assert check_cache(cache, load_model(network()).digest) == table.provenance
    with pytest.raises(StaleError, match="not for this one"):
        check_cache(cache, load_model(other).digest)
