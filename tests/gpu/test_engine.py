"""The network that ships, built and run by the TensorRT of a GPU machine."""

import json
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import quantlab as ql
from quantlab.calibration.trt_cache import CalibrationCache, cache_of, header, parse_cache
from quantlab.engines.cuda.memory import devices, pinned
from quantlab.engines.engine import Engine
from quantlab.engines.tensorrt.build import Reports, build
from quantlab.engines.tensorrt.build_options import (
    BuildOptions,
    FromCache,
    FromRanges,
    NativeCalibration,
    Profile,
)
from quantlab.engines.tensorrt.engine import TrtEngine
from quantlab.engines.tensorrt.plan import read_plan, write_plan
from quantlab.engines.tensorrt.runtime import library
from quantlab.engines.tensorrt.timing import mean_power, time_engine
from quantlab.errors import InputError, QuantlabError, UsageError
from quantlab.numerics.error_sums import ErrorSums

pytestmark = pytest.mark.gpu

NET = Path(__file__).parents[2] / "calib_data" / "fashion_net.onnx"
GREY = ql.data.Preprocess(color="GRAY", scale=1 / 255, mean=0.2860, std=0.3530)


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> BuildOptions:
    timings = tmp_path_factory.mktemp("timings") / "cache"
    return BuildOptions(
        timing_cache=str(timings), profiles=(Profile({"image": ((1, 1, 28, 28), (32, 1, 28, 28), (32, 1, 28, 28))}),)
    )


@pytest.fixture(scope="module")
def images() -> Any:
    return ql.data.arrays(NET.parent / "calibration.npz", preprocess=GREY, batch=32)


@pytest.fixture(scope="module")
def batch(images: Any) -> dict[str, np.ndarray[Any, Any]]:
    return {"image": np.asarray(next(iter(images))["image"])}


@pytest.fixture(scope="module")
def fp32(options: BuildOptions) -> TrtEngine:
    return ql.engines.trt(NET, options=options)


@pytest.fixture(scope="module")
def histograms(images: Any) -> ql.HistogramSet:
    return ql.collect(ql.engines.ort(NET, expose="all"), images)


@pytest.fixture(scope="module")
def table(histograms: ql.HistogramSet) -> ql.ScaleTable:
    return ql.calibrate(histograms, ql.SquaredError())


@pytest.fixture(scope="module")
def cache(table: ql.ScaleTable) -> CalibrationCache:
    return cache_of(table, header(library().version, "EntropyCalibration2"))


def _sqnr(one: Engine, two: Engine, batch: dict[str, Any]) -> float:
    exact = {name: np.array(value) for name, value in one.run(batch).items()}
    got = two.run(batch)
    return min(ErrorSums.of(exact[name], np.asarray(got[name])).sqnr_db for name in exact)


def _logits(engine: TrtEngine, batch: dict[str, Any]) -> np.ndarray[Any, Any]:
    return np.array(next(iter(engine.run(batch).values())))


def test_the_fp32_plan_agrees_with_onnx_runtime(fp32: TrtEngine, batch: dict[str, Any]) -> None:
    assert _sqnr(ql.engines.ort(NET), fp32, batch) > 90


@pytest.mark.parametrize("rows", [1, 2, 31, 32])
def test_every_batch_of_the_profile_runs(fp32: TrtEngine, batch: dict[str, Any], rows: int) -> None:
    assert _sqnr(ql.engines.ort(NET), fp32, {"image": batch["image"][:rows]}) > 90


def test_a_batch_beyond_the_profile_is_refused(fp32: TrtEngine) -> None:
    with pytest.raises(InputError, match=r"built for other shapes than image \[33, 1, 28, 28\]"):
        fp32.run({"image": np.zeros((33, 1, 28, 28), np.float32)})


def test_a_batch_that_does_not_fit_is_refused(fp32: TrtEngine) -> None:
    with pytest.raises(InputError, match="wants image"):
        fp32.run({"image": np.zeros((1, 1, 28, 28), np.float64)})


def test_pinned_and_device_inputs_give_the_same_bits(fp32: TrtEngine, batch: dict[str, Any]) -> None:
    expected = _logits(fp32, batch)
    locked = pinned(batch["image"].shape)
    locked[...] = batch["image"]
    assert (_logits(fp32, {"image": locked}) == expected).all()
    held = fp32.prepare(batch).device.allocate(locked.nbytes)
    lane = fp32.prepare(batch)
    lane.device.upload(locked, held)
    lane.device.wait()
    from quantlab.engines.cuda.device_array import DeviceArray

    there = DeviceArray(held.pointer, locked.shape, locked.dtype, 0, held)
    assert (_logits(fp32, {"image": there}) == expected).all()


def test_threads_do_not_disturb_each_other(fp32: TrtEngine, batch: dict[str, Any]) -> None:
    parts = [{"image": np.ascontiguousarray(batch["image"][i : i + 8])} for i in (0, 8, 16, 24)]
    expected = [_logits(fp32, part) for part in parts]
    wrong: list[int] = []

    together = threading.Barrier(4)

    def work(number: int) -> None:
        together.wait()
        wrong.extend(number for _ in range(50) if not (_logits(fp32, parts[number]) == expected[number]).all())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_every_tensor_can_be_seen(options: BuildOptions, batch: dict[str, Any]) -> None:
    seen = ql.engines.trt(NET, expose="all", options=options)
    assert set(seen.outputs) == set(ql.engines.ort(NET, expose="all").outputs)
    assert _sqnr(ql.engines.ort(NET, expose="all"), seen, batch) > 60


def test_counting_on_the_gpu_equals_counting_its_activations_on_the_cpu(options: BuildOptions, images: Any) -> None:
    there = ql.engines.trt(NET, expose="all", options=options, on_device=True)
    here = ql.engines.trt(there.plan)
    here.outputs, here._derivations = there.outputs, there._derivations  # the same plan, read back to the host
    counted, read = ql.collect(there, images), ql.collect(here, images)
    assert {name: counted[name] == read[name] for name in read} == dict.fromkeys(read, True)


def test_a_cache_is_taken_without_data_and_equals_its_dynamic_ranges(
    options: BuildOptions, cache: CalibrationCache, table: ql.ScaleTable, batch: dict[str, Any]
) -> None:
    by_cache = ql.engines.trt(NET, options=options, int8=FromCache(cache))  # it raises if TensorRT asks for a batch
    by_ranges = ql.engines.trt(NET, options=options, int8=FromRanges(table))
    assert by_cache.plan.card.scales == "cache EntropyCalibration2"
    assert by_ranges.plan.card.scales == "dynamic ranges"
    assert (_logits(by_cache, batch) == _logits(by_ranges, batch)).all()
    assert 15 < _sqnr(ql.engines.ort(NET), by_cache, batch) < 60


def test_a_cache_of_another_algorithm_is_refused(options: BuildOptions, cache: CalibrationCache) -> None:
    foreign = CalibrationCache("TRT-8601-PercentileCalibration", cache.scales)
    with pytest.raises(InputError, match="says it is of «PercentileCalibration»"):
        build(NET, options=options, int8=FromCache(foreign))


@pytest.mark.parametrize(
    ("algorithm", "method"),
    [
        ("entropy2", ql.TensorRTEntropy2()),
        ("minmax", ql.TensorRTMinMax()),
    ],
)
def test_native_calibration_is_what_quantlab_computes(
    options: BuildOptions, images: Any, algorithm: Any, method: Any
) -> None:
    plan = build(NET, options=options, int8=NativeCalibration(algorithm=algorithm, batches=images, batch=32))
    native = parse_cache(plan.cache)
    grid = ql.TensorRTGrid(batch=32)
    ours = ql.calibrate(ql.collect(ql.engines.ort(NET, expose="all"), images, grid=grid), method)
    both = [name for name in native.scales if name in ours]
    assert len(both) >= 20
    apart = {name: (native.scales[name], ours[name].scale[0]) for name in both}
    wrong = {name: pair for name, pair in apart.items() if abs(pair[0] / pair[1] - 1) > 1e-4}
    assert not wrong


def _two_convolutions() -> onnx.ModelProto:
    rng = np.random.default_rng(5)
    weights = [rng.standard_normal(shape).astype(np.float32) / 8 for shape in ((8, 1, 3, 3), (8, 8, 3, 3))]
    nodes = [
        onnx.helper.make_node("Conv", ["image", "w0"], ["a"], name="first"),
        onnx.helper.make_node("Relu", ["a"], ["b"], name="relu"),
        onnx.helper.make_node("Conv", ["b", "w1"], ["y"], name="second"),
    ]
    stored = [onnx.numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)]
    image = onnx.helper.make_tensor_value_info("image", 1, ["batch", 1, 28, 28])
    output = onnx.helper.make_tensor_value_info("y", 1, ["batch", 8, 24, 24])
    graph = onnx.helper.make_graph(nodes, "two", [image], [output], stored)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("algorithm", ["entropy2", "minmax", "legacy", "entropy"])
def test_every_calibrator_runs(options: BuildOptions, images: Any, algorithm: Any) -> None:
    source = NativeCalibration(algorithm=algorithm, batches=images, batch=32)
    plan = build(_two_convolutions(), options=options, int8=source)
    assert parse_cache(plan.cache).scales
    assert plan.card.chosen_on == (images.identity,)
    assert plan.card.scales == f"calibrated {algorithm}"


def test_every_scale_of_a_cache_is_in_the_builders_log(options: BuildOptions, cache: CalibrationCache) -> None:
    lines: list[str] = []
    build(NET, options=options, int8=FromCache(cache), reports=Reports(log=lambda _, text: lines.append(text)))
    told = re.compile(
        r"INT8 Inference Tensor scales and zero-points: (.*) scale and zero-point Quantization\(scale: \{([^,}]*),"
    )
    found = {match[1]: float(match[2]) for match in map(told.search, lines) if match}
    assert set(cache.scales) <= set(found)
    assert [f"{cache.scales[name]:.6g}" for name in cache.scales] == [f"{found[name]:.6g}" for name in cache.scales]


def test_a_last_bit_of_the_scales_matters(options: BuildOptions, table: ql.ScaleTable, batch: dict[str, Any]) -> None:
    """So equal outputs of cache and ranges mean equal scales."""
    first = header(library().version, "EntropyCalibration2")
    one = cache_of(table, first)
    up = {name: float(np.nextafter(np.float32(scale), np.float32(np.inf))) for name, scale in one.scales.items()}
    two = CalibrationCache(first, up)
    values = {"image": np.ascontiguousarray(batch["image"])}
    engines = [ql.engines.trt(NET, options=options, int8=FromCache(cache)) for cache in (one, two)]
    assert (_logits(engines[0], values) != _logits(engines[1], values)).any()


def test_a_failing_data_set_is_told(options: BuildOptions) -> None:
    with pytest.raises(QuantlabError, match="lack the input «image»"):
        build(
            NET,
            options=options,
            int8=NativeCalibration(algorithm="minmax", batches=[{"x": np.zeros((32, 1, 28, 28), np.float32)}]),
        )


def test_the_qdq_plan_is_what_the_simulation_says(
    options: BuildOptions, table: ql.ScaleTable, batch: dict[str, Any]
) -> None:
    qdq = ql.quantize(NET, table, options=ql.QuantizeOptions(target="tensorrt@8.6"))
    plan = ql.engines.trt(qdq.model, options=options)
    assert plan.plan.card.scales == "Q/DQ"
    assert plan.chosen_on == table.provenance.chosen_on  # type: ignore[union-attr]
    assert _sqnr(ql.engines.ort(qdq.model, optimize=False), plan, batch) > 20
    with pytest.raises(UsageError, match="TensorRT would ignore"):
        build(qdq.model, options=options, int8=FromRanges(table))


@pytest.mark.parametrize("precision", [("fp32", "tf32"), ("fp32", "fp16")])
def test_other_precisions_run(options: BuildOptions, batch: dict[str, Any], precision: Any) -> None:
    from dataclasses import replace

    assert _sqnr(ql.engines.ort(NET), ql.engines.trt(NET, options=replace(options, precision=precision)), batch) > 35


def test_a_layer_keeps_the_precision_that_is_asked_for(cache: CalibrationCache) -> None:
    fixed = onnx.load(NET)  # of free shapes TensorRT 8.6 tells no formats
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 32
    del fixed.graph.value_info[:]
    mixed = BuildOptions(precision=("fp32", "fp16"), layers={"*Conv*": "fp32"})
    with ql.engines.trt(fixed, options=mixed, int8=FromCache(cache)) as engine:
        told = json.loads(engine.inspect(), strict=False)["Layers"]
    read = {
        layer["Name"]: [tensor["Format/Datatype"] for tensor in layer["Inputs"]]
        for layer in told
        if "Conv" in layer.get("LayerType", "")
    }
    assert read
    assert not {name: types for name, types in read.items() if any("FP32" not in kind for kind in types)}


def test_a_plan_goes_to_a_file_and_runs_from_there(fp32: TrtEngine, batch: dict[str, Any], tmp_path: Path) -> None:
    write_plan(tmp_path / "net.plan", fp32.plan)
    again = ql.engines.trt(tmp_path / "net.plan")
    assert (_logits(again, batch) == _logits(fp32, batch)).all()
    assert read_plan(tmp_path / "net.plan").card == fp32.plan.card


def test_a_damaged_plan_is_refused_by_tensorrt(fp32: TrtEngine) -> None:
    from dataclasses import replace

    with pytest.raises(InputError, match="cannot load the plan"):
        TrtEngine(replace(fp32.plan, data=fp32.plan.data[: len(fp32.plan.data) // 2]))


def test_layers_and_their_times_are_told(fp32: TrtEngine, batch: dict[str, Any]) -> None:
    times = fp32.profile(batch, rounds=5)
    names = {layer["Name"] for layer in json.loads(fp32.inspect(batch), strict=False)["Layers"]}
    assert times
    assert set(times) <= names
    assert min(times.values()) >= 0
    assert (_logits(fp32, batch) == _logits(fp32, batch)).all()  # and it still runs


@pytest.mark.parametrize("graph", [False, True])
def test_times_are_measured(fp32: TrtEngine, batch: dict[str, Any], graph: bool) -> None:
    times = time_engine(fp32, batch, rounds=50, graph=graph)
    assert 0 < times.min_ms <= times.median_ms <= times.p90_ms
    assert times.batch == 32


def test_a_graph_leaves_the_results_alone(fp32: TrtEngine, batch: dict[str, Any]) -> None:
    before = _logits(fp32, batch)
    time_engine(fp32, batch, rounds=5, graph=True)
    assert (_logits(fp32, batch) == before).all()


def test_power_is_measured(fp32: TrtEngine, batch: dict[str, Any]) -> None:
    power = mean_power(fp32, batch, seconds=1)
    assert 20 < power.watts < 2000
    assert power.samples > 0


def test_the_log_and_progress_are_heard(options: BuildOptions) -> None:
    lines: list[str] = []
    build(NET, options=options, reports=Reports(log=lambda _, text: lines.append(text)))
    assert any("Conv" in line for line in lines)


def test_this_machine_has_a_gpu() -> None:
    assert devices() >= 1
