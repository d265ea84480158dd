from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnxruntime import OrtValue

from quantlab import engines
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.collector.collect import CollectOptions, collect
from quantlab.data.stream import stream
from quantlab.engines.onnx_runtime import OrtEngine
from quantlab.errors import InputError
from quantlab.numerics.arrays import F32, AnyArray, Tensors
from quantlab.numerics.histogram import Histogram
from quantlab.numerics.tensorrt_histogram import TensorRTGrid, TensorRTHistogram
from tests.graph.nets import net_of
from tests.networks import image_batch, small_cnn


def batches(images: F32, size: int) -> list[dict[str, AnyArray]]:
    return [{"image": images[i : i + size]} for i in range(0, len(images), size)]


def histograms(images: F32, size: int = 5, options: CollectOptions | None = None) -> HistogramSet:
    with engines.ort(small_cnn(), expose="all") as engine:
        return collect(engine, batches(images, size), options=options)


def activations(images: F32) -> dict[str, AnyArray]:
    """What each tensor holds, from one plain run of the engine."""
    with engines.ort(small_cnn(), expose="all") as engine:
        return {name: np.array(value) for name, value in engine.run({"image": images}).items()}


def same(one: HistogramSet, two: HistogramSet) -> bool:
    return list(one) == list(two) and all(one[t] == two[t] for t in one)


def test_every_tensor_is_counted_as_if_all_activations_lay_in_memory() -> None:
    images = image_batch(11)
    found, values = histograms(images), activations(images)
    assert list(found) == ["image", "conv1", "relu6", "padded", "conv2", "relu", "pool", "flat", "logits"]
    for tensor in ("image", "conv1", "relu6", "padded", "conv2", "relu"):
        assert found[tensor] == Histogram.of(values[tensor]), tensor


def test_batch_size_and_order_leave_no_trace() -> None:
    images = image_batch(13)
    once = histograms(images, 13)
    for size in (1, 2, 5, 12):
        assert same(histograms(images, size), once)
    assert same(histograms(images[::-1].copy(), 4), once)


def test_merging_shards_equals_collecting_together() -> None:
    images = image_batch(9)
    merged = histograms(images[:4]).merge(histograms(images[4:]))
    assert same(merged, histograms(images))
    assert sum(data.count for data in merged.provenance.chosen_on) == 9


def test_workers_and_memory_budget_leave_no_trace() -> None:
    images = image_batch(7)
    once = histograms(images)
    assert same(histograms(images, options=CollectOptions(workers=1)), once)
    assert same(histograms(images, options=CollectOptions(workers=3, budget=6000)), once)


def test_a_budget_below_one_sample_takes_several_passes() -> None:
    told: list[tuple[int, int | None]] = []
    with engines.ort(small_cnn(), expose="all") as engine:
        data = stream(batches(image_batch(3), 3))
        list(data)
        collect(engine, data, options=CollectOptions(budget=5000, progress=lambda *now: told.append(now)))
    assert told[-1][0] > 3


def test_derived_tensors_are_not_counted() -> None:
    found = histograms(image_batch(2))
    assert dict(found.derived) == {"relu6": "conv1", "padded": "relu6", "relu": "conv2", "flat": "pool"}


def test_a_fresh_stream_and_a_generator_are_data_too() -> None:
    images = image_batch(5)

    def generate() -> Iterator[dict[str, AnyArray]]:
        yield from batches(images, 2)

    with engines.ort(small_cnn(), expose="all") as engine:
        assert same(collect(engine, stream(generate)), histograms(images))
        assert same(collect(engine, generate()), histograms(images))


def test_a_ragged_last_batch_of_a_fixed_batch_model_is_filled_up_and_not_counted_twice() -> None:
    images = image_batch(7)
    with engines.ort(small_cnn(batch=4), expose="all") as engine:
        found = collect(engine, batches(images, 7))
    assert all(found[t].total == histograms(images)[t].total for t in found)  # type: ignore[union-attr]
    assert found["image"] == Histogram.of(images)


def test_samples_of_several_shapes_are_counted_together() -> None:
    node = helper.make_node("Relu", ["x"], ["y"], "n")
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", "length"]) for n in "xy"]
    model = helper.make_model(
        helper.make_graph([node], "g", value[:1], value[1:]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    rng = np.random.default_rng(0)
    rows = [rng.standard_normal((1, n)).astype(np.float32) for n in (3, 5, 3, 8, 5, 3)]
    with engines.ort(model, expose="all") as engine:
        found = collect(engine, [{"x": row} for row in rows])
    assert found["x"] == Histogram.of(np.concatenate([row.ravel() for row in rows]))


def test_not_a_number_is_refused_by_tensor_and_batch() -> None:
    images = image_batch(6)
    images[4, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match=r"Tensor «\w+» holds \d+ NaN in .*batch"):
        histograms(images, 2)
    counted = histograms(images, options=CollectOptions(nonfinite="count"))["image"]
    assert isinstance(counted, Histogram)
    assert counted.nan == 1


def test_no_data_is_refused() -> None:
    with engines.ort(small_cnn(), expose="all") as engine, pytest.raises(InputError, match="no sample"):
        collect(engine, [])


@pytest.mark.parametrize(
    ("batch", "sentence"),
    [
        (
            {"picture": image_batch(2)},
            r"unknown \['picture'\], missing \['image'\].*image: float32\[batch, 3, 12, 12\]",
        ),
        ({"image": image_batch(2).astype(np.float64)}, "got float64, but the model wants image: float32"),
        ({"image": image_batch(2)[:, :2]}, r"has shape \[2, 2, 12, 12\]"),
    ],
)
def test_a_batch_that_does_not_fit_lists_what_is_expected(batch: dict[str, AnyArray], sentence: str) -> None:
    with engines.ort(small_cnn(), expose="all") as engine, pytest.raises(InputError, match=sentence):
        collect(engine, [batch])


def test_memory_does_not_grow_with_the_number_of_images() -> None:
    def peak(count: int) -> int:
        with engines.ort(small_cnn(), expose="all") as engine:
            tracemalloc.start()
            collect(
                engine, ({"image": image_batch(4, seed)} for seed in range(count)), options=CollectOptions(workers=1)
            )
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        return most

    peak(2)  # whatever is loaded only once
    assert peak(60) < 1.05 * peak(6)


def twin(x: AnyArray, batch: int) -> tuple[AnyArray, float]:
    """TensorRT's rules, a batch at a time."""
    counts, width = np.zeros(2048, int), x[:batch].max() / 2048
    for start in range(0, len(x), batch):
        part = x[start : start + batch]
        while part.max() > width * 2048:
            counts, width = np.append(counts.reshape(-1, 2).sum(axis=1), np.zeros(1024, int)), width * 2
        counts = counts + np.bincount(np.minimum(part / width, 2047).astype(int).ravel(), minlength=2048)
    return counts, width


def test_tensorrts_grid_takes_its_width_from_the_first_batch() -> None:
    images = image_batch(9)
    images[:2] /= 8
    with engines.ort(small_cnn(), expose="all") as engine:
        found = collect(engine, batches(images, 3), grid=TensorRTGrid(2))
    values = activations(images)
    for tensor in ("image", "conv1", "conv2"):
        histogram, x = found[tensor], np.abs(values[tensor]).astype(np.float64)
        assert isinstance(histogram, TensorRTHistogram)
        counts, width = twin(x, 2)
        assert histogram.width == width
        assert np.array_equal(histogram.counts, counts)
    assert found.provenance.grid.startswith("tensorrt, batch 2, order blake2b:")


def test_tensorrts_grid_notes_order_and_counts_padding() -> None:
    images = image_batch(6)
    with engines.ort(small_cnn(), expose="all") as engine:
        one = collect(engine, batches(images, 2), grid=TensorRTGrid(2))
        two = collect(engine, batches(images[::-1].copy(), 2), grid=TensorRTGrid(2))
    assert one.provenance.grid != two.provenance.grid
    relu6, padded = one["relu6"], one["padded"]
    assert isinstance(relu6, TensorRTHistogram)
    assert isinstance(padded, TensorRTHistogram)
    assert padded.counts[0] - relu6.counts[0] == 6 * 8 * (12 * 12 - 10 * 10)


def test_a_pooled_tensor_has_its_inputs_grid_for_tensorrt_and_its_own_values_else() -> None:
    net = net_of(
        "net (float[N,2,6,6] x) => (float[N,2,3,3] y) { y = MaxPool<kernel_shape = [2,2], strides = [2,2]>(x) }"
    )
    images = [{"x": np.arange(-72, 72, dtype=np.float32).reshape(2, 2, 6, 6)}]
    with engines.ort(net, expose="all") as engine:
        tensorrt, own = collect(engine, images, grid=TensorRTGrid(2)), collect(engine, images)
    assert np.array_equal(tensorrt["y"].counts, tensorrt["x"].counts)
    pooled, source = own["y"], own["x"]
    assert isinstance(pooled, Histogram)
    assert isinstance(source, Histogram)
    assert (source.total, pooled.total, pooled.low) == (144, 36, -65.0)


def test_the_same_bits_come_from_the_reference_network_for_any_order(reference: object) -> None:
    from pathlib import Path

    from tests.benchmarks.sample import calibration, network

    root = Path(str(reference))
    images = next(iter(calibration(root, limit=12, batch=12))).bind(["input"])["input"]
    with engines.ort(network(root), expose="all") as engine:
        one = collect(engine, [{"input": images}])
        two = collect(engine, [{"input": images[::-1][i : i + 5]} for i in range(0, 12, 5)])
    assert same(one, two)


def test_a_model_with_an_if_is_collected_around_it() -> None:
    inner = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["a"], "r")], "then", [], [helper.make_tensor_value_info("a", 1, None)]
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["b"], "m")], "else", [], [helper.make_tensor_value_info("b", 1, None)]
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], "t", keepdims=0),
        helper.make_node("Greater", ["top", "zero"], ["positive"], "g"),
        helper.make_node("If", ["positive"], ["y"], "if", then_branch=inner, else_branch=other),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, ["batch", 4])],
        [helper.make_tensor_value_info("y", 1, ["batch", 4])],
        [onnx.numpy_helper.from_array(np.float32(0), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with engines.ort(model, expose="all") as engine:
        found = collect(engine, [{"x": np.ones((3, 4), np.float32)}])
    assert found["y"].counts.sum() == 12


def graph_of(text: str, **constants: F32) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    model.graph.initializer.extend(onnx.numpy_helper.from_array(v, k) for k, v in constants.items())
    return model


def whole(model: onnx.ModelProto, tensor: str, batch: dict[str, AnyArray]) -> Histogram:
    with engines.ort(model, expose=(tensor,)) as engine:
        return Histogram.of(np.array(engine.run(batch)[tensor]))


def test_a_model_whose_first_dimension_is_not_the_batch_is_run_on_the_batches_as_they_come() -> None:
    model = graph_of("g (float[S,N,4] x) => (float[S,N,4] p) { p = Softmax<axis = 0>(x) }")
    batch = {"x": np.random.default_rng(0).standard_normal((6, 2, 4)).astype(np.float32) * 3}
    with engines.ort(model, expose="all") as engine:
        assert collect(engine, [batch])["p"] == whole(model, "p", batch)


def test_a_fixed_batch_whose_rows_are_mixed_is_never_filled_up() -> None:
    weights = np.random.default_rng(1).standard_normal((16, 16)).astype(np.float32)
    model = graph_of(
        "g (float[4,4,16] x) => (float[4,4,16] y) { t = Transpose<perm = [1, 0, 2]>(x) \n y = MatMul(t, w) }", w=weights
    )
    batch = {"x": np.random.default_rng(2).standard_normal((4, 4, 16)).astype(np.float32)}
    with engines.ort(model, expose="all") as engine:
        assert collect(engine, [batch])["y"] == whole(model, "y", batch)
        with pytest.raises(InputError, match=r"has shape \[1, 4, 16\]|\[1, 4, 16\]"):
            collect(engine, [{"x": batch["x"][:1]}])


def test_a_budget_that_takes_several_passes_changes_no_bit_where_the_runtime_fuses() -> None:
    rng = np.random.default_rng(3)
    model = graph_of(
        """g (float[N,8,32] x) => (float[N,8,32] y) {
        h = MatMul(x, w) \n d = Div(h, r) \n e = Erf(d) \n a = Add(e, one) \n m = Mul(h, a) \n q = Mul(m, half)
        z = Add(q, x) \n mean = ReduceMean<axes = [-1]>(z) \n c = Sub(z, mean) \n s = Mul(c, c)
        v = ReduceMean<axes = [-1]>(s) \n ve = Add(v, eps) \n sd = Sqrt(ve) \n n = Div(c, sd) \n y = MatMul(n, w) }""",
        w=rng.standard_normal((32, 32)).astype(np.float32),
        r=np.float32(2**0.5),
        one=np.float32(1),
        half=np.float32(0.5),
        eps=np.float32(1e-5),
    )
    data = [{"x": rng.standard_normal((5, 8, 32)).astype(np.float32)}]
    with engines.ort(model, expose="all") as engine:
        once = collect(engine, data)
        for budget in (3_000, 20_000, 150_000):
            assert same(collect(engine, data, options=CollectOptions(budget=budget)), once)


def test_a_scalar_input_makes_a_batch_one_sample() -> None:
    model = graph_of("g (float[N,4] x, float s) => (float[N,4] y) { y = Mul(x, s) }")
    batch = {"x": np.ones((3, 4), np.float32), "s": np.array(2.0, np.float32)}
    with engines.ort(model, expose="all") as engine:
        found = collect(engine, [batch, batch])
    assert isinstance(found["y"], Histogram)
    assert found["y"].total == 24


def test_a_users_name_that_normalising_removed_can_be_exposed() -> None:
    model = graph_of("g (float[N,4] x) => (float[N,4] y) { a = Relu(x) \n i = Identity(a) \n y = Exp(i) }")
    with engines.ort(model, expose=("i",)) as engine:
        assert list(engine.outputs) == ["a"]


def test_a_model_with_nothing_to_quantize_is_refused() -> None:
    model = graph_of("g (float[N,4] x) => (float[N,4] y) { y = Exp(x) }")
    with pytest.raises(InputError, match="quantizes nothing of this model"):
        engines.ort(model, expose="quantizable")


def test_an_empty_batch_changes_nothing() -> None:
    images = image_batch(4)
    with engines.ort(small_cnn(), expose="all") as engine:
        found = collect(engine, [{"image": images[:0]}, {"image": images}, {"image": images[:0]}])
    assert same(found, histograms(images))


class _OrtValues(OrtEngine):
    """An engine that returns another library's arrays, as ONNX Runtime's own bindings do."""

    def run(self, batch: Tensors) -> Mapping[str, Any]:
        return {name: OrtValue.ortvalue_from_numpy(value) for name, value in super().run(batch).items()}


def test_outputs_may_be_arrays_of_another_library() -> None:
    images = image_batch(7)
    with engines.ort(small_cnn(), expose="all") as plain:
        wanted = collect(plain, batches(images, 3))
        names = tuple(plain.outputs)
        with _OrtValues(plain._network, outputs=names) as engine:
            assert same(collect(engine, batches(images, 3)), wanted)
            one = collect(engine, batches(images, 3), grid=TensorRTGrid(2))
        assert same(one, collect(plain, batches(images, 3), grid=TensorRTGrid(2)))


def _with_profile(low: int, high: int) -> tuple[type[OrtEngine], list[int]]:
    sizes: list[int] = []

    class Profiled(OrtEngine):
        smallest_batch, largest_batch = low, high

        def run(self, batch: Tensors) -> Mapping[str, Any]:
            sizes.append(len(batch["image"]))
            assert low <= sizes[-1] <= high
            return super().run(batch)

        def exposing(self, outputs: tuple[str, ...]) -> OrtEngine:
            return self.restrict(outputs)

        def restrict(self, outputs: tuple[str, ...]) -> OrtEngine:
            return Profiled(self._network, outputs=outputs)

    return Profiled, sizes


@pytest.mark.parametrize(("low", "high", "ran"), [(3, 16, 16), (5, 7, 5), (1, 1, 1), (4, 4, 4)])
@pytest.mark.parametrize("grid", [None, TensorRTGrid(2)])
def test_no_batch_is_smaller_or_larger_than_an_engine_takes(
    low: int, high: int, ran: int, grid: TensorRTGrid | None
) -> None:
    images = image_batch(7)
    with engines.ort(small_cnn(), expose="all") as plain:
        engine_of, sizes = _with_profile(low, high)
        with engine_of(plain._network, outputs=tuple(plain.outputs)) as engine:
            found = collect(engine, batches(images, 3), grid=grid)
        assert same(found, collect(plain, batches(images, 3), grid=grid))
    assert sizes[-1] == ran


def test_a_budget_below_the_smallest_batch_splits_the_tensors_instead() -> None:
    images = image_batch(4)
    with engines.ort(small_cnn(), expose="all") as plain:
        engine_of, sizes = _with_profile(3, 8)
        with engine_of(plain._network, outputs=tuple(plain.outputs)) as engine:
            found = collect(engine, batches(images, 2), options=CollectOptions(budget=1))
        assert same(found, collect(plain, batches(images, 2)))
    assert set(sizes) == {3}


def test_an_engine_may_ask_for_larger_batches() -> None:
    sizes: list[int] = []

    class Large(OrtEngine):
        largest_batch = 16

        def run(self, batch: Tensors) -> Mapping[str, Any]:
            sizes.append(len(batch["image"]))
            return super().run(batch)

        def exposing(self, outputs: tuple[str, ...]) -> OrtEngine:
            return self.restrict(outputs)

    images = image_batch(20)
    with engines.ort(small_cnn(), expose="all") as plain, Large(plain._network, outputs=tuple(plain.outputs)) as engine:
        collect(engine, batches(images, 5))
    assert sizes[-2:] == [16, 16]
