"""What the measuring commands compute before and after the GPU: checked where there is none."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quantlab.comparison.cost import BatchTime, Cost
from quantlab.comparison.lineup import Entry, Lineup, lineup
from quantlab.engines.cuda.memory import devices
from quantlab.metrics.top_k import TopK
from tests.comparison.networks import Network, samples
from tests.gpu.__main__ import steps
from tests.gpu.logits import read_logits, write_logits
from tests.gpu.placement_study import VARIANTS, _no_images, _pairs
from tests.gpu.prepare import main as prepare
from tests.gpu.subjects import LITE0, YOLO, Images, at_batch, surest_classes
from tests.gpu.summary import checks
from tests.gpu.variants import Bench, names

ROOT = Path(__file__).parents[2]


def table(**milliseconds: float) -> Lineup:
    found = lineup(Network(), {"one": Network(0.125)}, samples(), metrics=(TopK(1),))
    entry = found.entries[0]
    entries: list[Entry] = []
    for name, ms in milliseconds.items():
        times = (BatchTime(1, ms / 2, ms), BatchTime(128, ms, ms), BatchTime(128, ms, ms, graph=True))
        entries.append(replace(entry, name=name, cost=Cost(times)))
    return Lineup(tuple(entries), "reference", paced_by="fp32")


def test_a_check_holds_a_figure_against_its_limit() -> None:
    found = {check.what: check for check in checks(LITE0, {"eval": table(fp32=6.0, tf32=4.0, cache=1.2, qdq=1.25)})}
    assert found["time of cache / fp32, b128, CUDA graph"].value == pytest.approx(0.2)
    assert found["time of cache / fp32, b128, CUDA graph"].reached
    assert found["time of qdq / tf32, b128, launches"].reached
    slower = found["time of qdq / cache, b1, launches"]
    assert slower.value == pytest.approx(1.25 / 1.2)
    assert not slower.reached
    assert "time of qdq / cache, b1, CUDA graph" not in found  # never timed


def test_a_detector_is_checked_for_its_placement_alone() -> None:
    found = [check.what for check in checks(YOLO, {"eval": table(fp32=6.0, cache=1.2, qdq=1.22)})]
    assert found
    assert all(what.startswith("time of qdq / cache") for what in found)


def test_every_engine_of_the_detector_is_one_of_the_classifiers() -> None:
    assert set(names(YOLO)) <= set(names(LITE0))


def test_the_surest_box_gives_its_classes() -> None:
    heads = {size: np.full((2, 255, size, size), -5.0, np.float32) for size in (2, 3)}
    heads[3].reshape(2, 3, 85, 9)[0, 1, 4, 7] = 5  # a box that is sure of something …
    heads[3].reshape(2, 3, 85, 9)[0, 1, 5 + 17, 7] = 6  # … of class 17
    heads[2].reshape(2, 3, 85, 4)[1, 2, 4:, 3] = np.linspace(2, 4, 81)
    found = surest_classes({str(size): head for size, head in heads.items()})
    assert found.shape == (2, 80)
    assert found.argmax(axis=1).tolist() == [17, 79]


def test_a_shorter_last_batch_is_filled_up() -> None:
    found = lineup(Network(), {"four": at_batch(Network(0.5), 4)}, samples(10, batch=4), metrics=())
    free = lineup(Network(), {"four": Network(0.5)}, samples(10, batch=4), metrics=())
    assert found["four"].comparison.outputs == free["four"].comparison.outputs


def test_logits_come_back_to_the_bit(tmp_path: Path) -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    exact = np.stack([every, np.roll(every, 7)])
    got = np.stack([np.roll(every, 12345), every])
    write_logits(tmp_path / "n.reference.logits.npz", {"y": exact}, ("a", "b"), None)
    write_logits(tmp_path / "n.one.logits.npz", {"y": got}, ("a", "b"), {"y": exact})
    names_read, found = read_logits(tmp_path, "n", "one")
    assert names_read == ("a", "b")
    assert np.array_equal(found["y"].view(np.uint16), got.view(np.uint16))
    write_logits(tmp_path / "n.other.logits.npz", {"y": got}, ("b", "a"), {"y": exact})
    with pytest.raises(ValueError, match="other images"):
        read_logits(tmp_path, "n", "other")


@pytest.fixture(scope="module")
def bench(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    images = reference / "data" / "imagenet-sample"
    model = reference / "models" / "efficientnet_lite0.onnx"
    arguments = ["prepare", "lite0", "--model", model, "--calibration", images / "calib", "--out", folder, "--limit", 8]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [str(argument) for argument in arguments])
        prepare()
    return Bench(LITE0, model, _no_images(), folder, (1, 4), folder)


@pytest.mark.reference
def test_images_come_in_the_order_in_which_tensorrt_saw_them(reference: Path) -> None:
    root = reference / "data" / "imagenet-sample"
    found = Images.read(LITE0, root / "calib", root / "eval", limit=6)
    order = [int(line) for line in (root / "order.txt").read_text().split()][:6]
    assert [int(name[:4]) for name in found.both.names[:6]] == order
    assert len(found.both) == 12
    assert found.both.identity.overlap(found.calibration.identity) == 1


@pytest.mark.reference
def test_the_cache_holds_every_activation_of_the_network(bench: Bench) -> None:
    cache = bench.cache("8.6.0")
    assert cache.header == "TRT-8600-EntropyCalibration2"
    assert {row.tensor for row in bench.table.rows} <= set(cache.scales)


@pytest.mark.reference
def test_each_placement_differs_from_ours(bench: Bench) -> None:
    made = {name: variant(bench) for name, variant in VARIANTS.items()}
    adds = {
        name: sum(
            operand.endswith(("dequantized",)) or "dequantized_for" in operand
            for node in proto.graph.node
            if node.op_type == "Add"
            for operand in node.input
        )
        for name, proto in made.items()
    }
    residuals = sum(node.op_type == "Add" for node in made["ours"].graph.node)
    assert adds["ours"] == adds["own_pair"] == residuals
    assert adds["float_residual"] == 0
    assert adds["both_inputs"] == 2 * residuals
    assert _pairs(made["own_pair"]) == _pairs(made["ours"]) + residuals
    assert _pairs(made["head_int8"]) > _pairs(made["ours"])
    assert _pairs(made["weights_qdq"]) > _pairs(made["ours"])


def test_one_command_names_every_step(tmp_path: Path) -> None:
    asked = argparse.Namespace(
        models=tmp_path, images=tmp_path, tables=tmp_path, out=tmp_path, plugin=Path("libhswish.so"), scales=None
    )
    modules = [step.arguments[0] for step in steps(asked)]
    assert modules.count("tests.gpu.measure") == 2
    for module in modules:
        assert module == "pytest" or importlib.util.find_spec(module) is not None
    without = argparse.Namespace(**vars(asked) | {"plugin": None})
    assert [step.name for step in steps(asked) if step not in steps(without)] == ["plugin"]


def test_one_command_says_that_there_is_no_gpu(tmp_path: Path) -> None:
    if devices():
        return
    arguments = [f for name in ("models", "images", "tables", "out") for f in (f"--{name}", str(tmp_path))]
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu", *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 1
    assert "no NVIDIA GPU" in done.stderr
