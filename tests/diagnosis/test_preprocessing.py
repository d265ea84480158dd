"""Wrong preprocessing is found, the right one is left in peace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from quantlab import engines
from quantlab.data import Preprocess, images
from quantlab.diagnosis.preprocessing import Preprocessing, check_preprocessing
from quantlab.diagnosis.sample_choice import Chosen
from quantlab.diagnosis.transformations import KNOWN, candidates
from quantlab.engines.ort_session import OrtOptions
from quantlab.graph.model import load_model
from quantlab.numerics.arrays import F32
from tests.diagnosis.fashion import NETWORK, labels, pixels, prepared
from tests.networks import image_batch, small_cnn

ONE = OrtOptions(threads=1)


def fashion(values: F32, *, labelled: bool = False) -> Preprocessing:
    chosen = Chosen({"image": values.astype(np.float32)}, labels(len(values)) if labelled else None)
    return check_preprocessing(load_model(NETWORK), chosen, {}, ONE)


@pytest.mark.parametrize("start", [0, 200, 400])
def test_the_right_preprocessing_is_left_in_peace(start: int) -> None:
    found = fashion(prepared(pixels(48, start)))
    assert not found.suspicious
    assert found.sentence.startswith("Nothing speaks against")


@pytest.mark.parametrize("wrong", [lambda x: x, lambda x: x / 255, lambda x: (x - 127) / 128, lambda x: x - 114])
def test_a_wrong_scale_is_found(wrong: Callable[[F32], F32]) -> None:
    found = fashion(np.asarray(wrong(pixels(48)), np.float32), labelled=True)
    assert found.better == "each channel's own mean 0 and std 1"  # the nearest of the candidates to how it was trained
    given, better = found.tried[0], next(t for t in found.tried if t.name == found.better)
    assert given.accuracy is not None
    assert better.accuracy is not None
    assert better.accuracy > given.accuracy
    assert "check the preprocessing" in found.sentence


def test_many_samples_are_screened_first() -> None:
    few, many = fashion(np.asarray(pixels(48) / 255, np.float32)), fashion(np.asarray(pixels(100) / 255, np.float32))
    assert many.better == few.better
    assert len(many.tried) < len(few.tried)
    assert not fashion(prepared(pixels(100))).suspicious


def test_labels_that_contradict_silence_the_warning() -> None:
    values = np.asarray(pixels(48) / 255, np.float32)
    assert fashion(values).suspicious
    with engines.ort(NETWORK, threads=1) as engine:
        answered = np.argmax(engine.run({"image": values})["logits"], axis=1)
    told = check_preprocessing(load_model(NETWORK), Chosen({"image": values}, answered), {}, ONE)
    assert told.tried[0].accuracy == 1
    assert not told.suspicious


@pytest.mark.parametrize("samples", [0, 1, 7])
def test_too_few_samples_are_not_judged(samples: int) -> None:
    found = fashion(prepared(pixels(samples)))
    assert not found.suspicious
    assert "not judged" in found.sentence


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_inputs_without_information_are_not_judged(value: float) -> None:
    found = fashion(np.full((9, 1, 28, 28), value, np.float32))
    assert "constant or not finite" in found.sentence
    assert all(np.isfinite(channel.mean) for channel in found.channels)


def test_inputs_that_are_no_images_are_not_judged() -> None:
    found = check_preprocessing(load_model(NETWORK), Chosen({"tokens": np.zeros((9, 4), np.int64)}), {}, ONE)
    assert "no float image" in found.sentence


def test_a_network_that_knows_nothing_is_believed_nothing() -> None:
    for seed in range(4):
        found = check_preprocessing(load_model(small_cnn(seed=seed)), Chosen({"image": image_batch(32)}), {}, ONE)
        assert not found.suspicious
        assert found.channels[0].std == pytest.approx(1, abs=0.05)


def regression() -> onnx.ModelProto:
    """A softmax regression trained on pixels/255: almost homogeneous, as networks without normalisation are."""
    values, known = (pixels(600, 100) / 255).reshape(600, -1).astype(np.float64), labels(600, 100)
    weight, bias, wanted = np.zeros((10, 784)), np.zeros(10), np.eye(10)[known]
    for _ in range(150):
        scores = values @ weight.T + bias
        answers = np.exp(scores - scores.max(axis=1, keepdims=True))
        gap = answers / answers.sum(axis=1, keepdims=True) - wanted
        weight, bias = weight - 0.05 * gap.T @ values / 60, bias - 0.05 * gap.sum(axis=0) / 60
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "regression",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in (("w", weight), ("b", bias))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_larger_scores_for_larger_inputs_prove_nothing() -> None:
    found = check_preprocessing(load_model(regression()), Chosen({"image": pixels(48) / 255}), {}, ONE)
    given, larger = found.tried[0], next(t for t in found.tried if t.name == "pixels as they are, 0 … 255")
    assert given.information is not None
    assert larger.information is not None
    assert larger.information > given.information + 0.5  # it answers far more surely
    assert larger.gain < 0.1
    assert not found.suspicious


def with_batch_norm() -> onnx.ModelProto:
    """Conv, BatchNormalization, Relu, whose statistics are those of pixels (x − 127)/128; no class scores."""
    draw = np.random.default_rng(0)
    weight = draw.normal(size=(4, 3, 3, 3)).astype(np.float32)
    inputs = trained(np.random.default_rng(1), 64)
    windows = np.lib.stride_tricks.sliding_window_view(inputs, (3, 3), axis=(2, 3))
    values = np.einsum("nchwij,ocij->nohw", windows, weight)
    arrays = {
        "w": weight,
        "gamma": np.ones(4, np.float32),
        "beta": np.zeros(4, np.float32),
        "mean": values.mean(axis=(0, 2, 3)).astype(np.float32),
        "var": values.var(axis=(0, 2, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["conv"]),
        helper.make_node("BatchNormalization", ["conv", "gamma", "beta", "mean", "var"], ["norm"]),
        helper.make_node("Relu", ["norm"], ["map"]),
    ]
    graph = helper.make_graph(
        nodes,
        "normed",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 12, 12])],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, ["n", 4, 10, 10])],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def photographs(draw: np.random.Generator, count: int) -> F32:
    """Return smooth patterns in 0 … 255, the channels of different mean and spread."""
    base = draw.uniform(0, 255, (count, 1, 12, 12)) + draw.normal(0, 10, (count, 3, 12, 12))
    tinted = base * np.array([1.0, 0.8, 0.5])[:, None, None] + np.array([0, 30, 90])[:, None, None]
    return np.clip(tinted, 0, 255).astype(np.float32)


def trained(draw: np.random.Generator, count: int) -> F32:
    return ((photographs(draw, count) - 127) / 128).astype(np.float32)


def test_batch_norms_tell_what_a_network_without_classes_expects() -> None:
    raw = photographs(np.random.default_rng(2), 24)
    net = load_model(with_batch_norm())
    right = check_preprocessing(net, Chosen({"image": ((raw - 127) / 128).astype(np.float32)}), {}, ONE)
    assert not right.suspicious
    assert right.tried[0].mismatch is not None
    assert right.tried[0].mismatch < 0.05
    wrong = check_preprocessing(net, Chosen({"image": raw}), {}, ONE)
    assert wrong.better in ("(x − 127)/128", "x/127.5 − 1")
    assert "BatchNorms get what they expect" in wrong.sentence


def test_pixels_are_found_back_from_a_declared_preprocessing() -> None:
    raw = photographs(np.random.default_rng(2), 8)
    declared = Preprocess(scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    shape = (3, 1, 1)
    given = (raw / 255 - np.reshape(declared.mean, shape)) / np.reshape(declared.std, shape)
    looks, found = candidates(given.astype(np.float32), 1, declared.to_json())
    assert looks.startswith("as declared")
    maps = {candidate.name: candidate.apply(given, 1) for candidate in found}
    np.testing.assert_allclose(maps["pixels as they are, 0 … 255"], raw, atol=1e-3)
    np.testing.assert_allclose(maps["(x − 127)/128, channels reversed"], (raw[:, ::-1] - 127) / 128, atol=1e-4)


@pytest.mark.parametrize("scaling", KNOWN, ids=lambda s: s.name)
@pytest.mark.parametrize("layout", [1, 3])
def test_pixels_are_found_back_from_the_usual_scalings(scaling: object, layout: int) -> None:
    raw = photographs(np.random.default_rng(2), 8)
    known = next(s for s in KNOWN if s is scaling)
    factor, offset = (np.reshape(values, (3, 1, 1)) for values in (known.factor, known.offset))
    given = np.moveaxis((raw * factor + offset).astype(np.float32), 1, layout)
    looks, found = candidates(given, layout, {})
    assert looks == f"like {known.name}" or {looks, known.name} <= {"like (x − 127)/128", "x/127.5 − 1"}
    assert known.name not in [candidate.name for candidate in found]


def lite0(reference: Path, colour: str, scale: Callable[[F32], F32]) -> Preprocessing:
    declared = Preprocess(resize=224, crop=(224, 224), color="BGR" if colour == "BGR" else "RGB")
    source = images(reference / "data" / "imagenet-sample" / "calib", preprocess=declared, batch=32)
    raw = next(iter(next(iter(source)).values()))
    model = load_model(reference / "models" / "efficientnet_lite0.onnx")
    return check_preprocessing(model, Chosen({"input": scale(raw).astype(np.float32)}), {}, ONE)


@pytest.mark.reference
@pytest.mark.parametrize(
    ("colour", "scale", "better"),
    [
        ("RGB", lambda x: (x - 127) / 128, ""),
        ("BGR", lambda x: (x - 127) / 128, "the same scaling, channels reversed"),
        ("RGB", lambda x: x, "(x − 127)/128"),
        ("BGR", lambda x: x, "(x − 127)/128, channels reversed"),
        ("RGB", lambda x: (x / 255 - 127) / 128, "(x − 127)/128"),
    ],
    ids=["right", "BGR", "pixels", "BGR pixels", "scaled twice"],
)
def test_efficientnet_lite0(reference: Path, colour: str, scale: Callable[[F32], F32], better: str) -> None:
    assert lite0(reference, colour, scale).better == better
