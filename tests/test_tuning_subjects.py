"""What the tuning benchmarks measure with, on outputs made by hand: no model, package or network is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from quantlab.data import arrays
from quantlab.errors import InputError
from quantlab.metrics.top_k import TopK
from quantlab.numerics.arrays import F32, AnyArray
from tests.benchmarks.tuning.boxes import BoxPrecision, SameTopClass, boxes_of
from tests.benchmarks.tuning.channel_spread import with_channel_spread
from tests.benchmarks.tuning.metrics import (
    EmbeddingCosine,
    ExactWords,
    HumanSimilarity,
    SameClass,
    SameWords,
    pearson,
    read_columns,
)
from tests.benchmarks.tuning.scoring import answers, beside, qdq_facts, scored
from tests.benchmarks.tuning.subjects import DIGITS, HERE, SUBJECTS, Places, Subject, open_subject
from tests.benchmarks.tuning.words import HEIGHT, SETS, WIDTH, on_line, render_set, words
from tests.gpu.detection import average_precision


def columns(*classes: int, of: int = 4) -> F32:
    """A recogniser's scores, [1, columns, classes], that choose these classes."""
    return np.eye(of, dtype=np.float32)[list(classes)][None]


def spelt(best: list[int]) -> tuple[int, ...]:
    """Greedy CTC decoding, symbol by symbol."""
    read, before = [], 0
    for symbol in best:
        if symbol not in (before, 0):
            read.append(symbol)
        before = symbol
    return tuple(read)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_reading_merges_repeats_and_drops_blanks(best: list[int]) -> None:
    assert read_columns(columns(*best)) == [spelt(best)]


def test_a_blank_parts_two_of_the_same_character() -> None:
    assert read_columns(columns(1, 1, 0, 1, 2)) == [(1, 1, 2)]


def test_scores_that_are_no_columns_are_refused() -> None:
    with pytest.raises(InputError, match="samples, columns, classes"):
        read_columns(np.zeros((2, 3), np.float32))


def test_words_are_the_same_where_the_reading_is_and_not_the_columns() -> None:
    exact = {"y": np.concatenate([columns(1, 0, 2), columns(1, 0, 2)])}
    got = {"y": np.concatenate([columns(1, 1, 2), columns(1, 2, 3)])}
    assert SameWords("y").per_sample(exact, got).tolist() == [True, False]


def test_spaces_around_words_count_where_no_class_is_the_space() -> None:
    exact = {"y": np.concatenate([columns(1, 3, 2), columns(1, 3, 2), columns(3, 0, 3), columns(3, 1, 3)])}
    got = {"y": np.concatenate([columns(1, 3, 2), columns(1, 2, 3), columns(0, 0, 3), columns(0, 1, 0)])}
    assert SameWords("y").per_sample(exact, got).tolist() == [True, False, False, False]
    assert SameWords("y", space=3).per_sample(exact, got).tolist() == [True, False, True, True]


def test_words_read_right_are_compared_without_the_spaces_around_them() -> None:
    read = {"y": np.concatenate([columns(1, 2, 3), columns(1, 3, 2), columns(1, 2, 2)])}
    assert ExactWords("y", ("ab", "ab", "ab"), ("a", "b", " ")).score(read, read) == pytest.approx(2 / 3)


def test_classes_agree_where_the_largest_score_is_the_same() -> None:
    exact, got = np.array([[1, 2], [3, 0]], np.float32), np.array([[0, 9], [1, 2]], np.float32)
    assert SameClass("y").per_sample({"y": exact}, {"y": got}).tolist() == [True, False]


def test_cosine_sees_direction_only() -> None:
    exact = {"e": np.array([[3, 4], [1, 0], [1, 0], [1, 0]], np.float32)}
    got = {"e": np.array([[6, 8], [0, 2], [-5, 0], [0, 0]], np.float32)}
    assert EmbeddingCosine("e").per_sample(exact, got) == pytest.approx([1, 0, -1, 0])


@given(st.integers(2, 40), st.integers(0, 2**32 - 1))
def test_pearson_is_that_of_numpy(count: int, seed: int) -> None:
    x, y = np.random.default_rng(seed).normal(size=(2, count))
    assert pearson(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-9)


@pytest.mark.parametrize(("x", "y"), [([1.0], [2.0]), ([1.0, 2.0], [1.0]), ([1.0, 1.0], [1.0, 2.0]), ([], [])])
def test_a_correlation_of_too_little_is_refused(x: list[float], y: list[float]) -> None:
    with pytest.raises(InputError, match="correlation"):
        pearson(np.array(x), np.array(y))


def test_similarity_is_perfect_where_people_judge_by_the_cosines() -> None:
    rows = np.random.default_rng(0).normal(size=(6, 4))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    human = 2 * (unit @ unit.T) + 1
    human[np.tril_indices(6)] = 77.0  # each pair counts once, from above the diagonal
    outputs = {"e": (rows * 3).astype(np.float32)}
    assert HumanSimilarity("e", human).score(outputs, outputs) == pytest.approx(1)
    with pytest.raises(InputError, match="6 embeddings"):
        HumanSimilarity("e", human[:5, :5]).score(outputs, outputs)


def heads(*boxes: tuple[int, int, int]) -> dict[str, AnyArray]:
    """One image's raw heads with boxes (class, row, column) of an anchor in the coarse one; earlier ones surer."""
    outputs = {"coarse": np.full((1, 255, 13, 13), -9, np.float32), "fine": np.full((1, 255, 26, 26), -9, np.float32)}
    cells = outputs["coarse"].reshape(1, 3, 85, 13, 13)
    for place, (label, row, column) in enumerate(boxes):
        cells[0, 0, :4, row, column] = 0
        cells[0, 0, [4, 5 + label], row, column] = 8 - place
    return outputs


def test_boxes_found_again_have_full_precision() -> None:
    truth = heads((7, 2, 2), (3, 9, 9))
    assert BoxPrecision().score(truth, truth) == 1
    assert BoxPrecision().score(truth, heads((7, 2, 2))) == 0.5
    assert BoxPrecision().score(truth, heads((7, 2, 2), (5, 9, 9))) == 0.5
    # A false box that is the surest halves the precision at the first true one, and is ⅔ at the second.
    assert BoxPrecision().score(truth, heads((1, 5, 5), (7, 2, 2), (3, 9, 9))) == pytest.approx(2 / 3)


@given(st.integers(0, 2**32 - 1))
def test_precision_of_images_pooled_is_that_of_the_detector_s_measure(seed: int) -> None:
    draw = np.random.default_rng(seed)
    sides = [[heads(*draw.integers(0, 4, (3, 3))) for _ in range(3)] for _ in range(2)]
    exact, got = ({name: np.concatenate([one[name] for one in side]) for name in side[0]} for side in sides)
    metric = BoxPrecision()
    truth, found = (boxes_of(outputs, metric.heads) for outputs in (exact, got))
    assert metric.score(exact, got) == pytest.approx(average_precision(truth, found))


def test_without_true_boxes_there_is_no_precision() -> None:
    assert np.isnan(BoxPrecision().score(heads(), heads((7, 2, 2))))
    assert BoxPrecision().score(heads((7, 2, 2)), heads()) == 0


def test_the_surest_class_is_the_same_or_there_is_none() -> None:
    assert SameTopClass().per_sample(heads((7, 2, 2)), heads((7, 5, 5))).tolist() == [True]
    assert SameTopClass().per_sample(heads((7, 2, 2)), heads((6, 2, 2))).tolist() == [False]
    assert SameTopClass().per_sample(heads(), heads()).tolist() == [True]
    assert SameTopClass().per_sample(heads(), heads((7, 2, 2))).tolist() == [False]


@pytest.mark.parametrize("metric", [SameClass("y"), SameWords("y"), EmbeddingCosine("y")])
def test_outputs_that_are_missing_or_differ_in_shape_are_refused(
    metric: SameClass | SameWords | EmbeddingCosine,
) -> None:
    rows = np.ones((2, 3), np.float32)
    with pytest.raises(InputError, match="no output «y»"):
        metric.per_sample({"y": rows}, {"x": rows})
    with pytest.raises(InputError, match="in INT8"):
        metric.per_sample({"y": rows}, {"y": rows[:1]})


def test_spread_channels_leave_the_logits_and_move_the_weights() -> None:
    model = onnx.load(HERE / "digits_net.onnx")
    spread = with_channel_spread(model, 30.0)
    image = np.random.default_rng(0).normal(size=(4, 1, 28, 28)).astype(np.float32)
    exact, got = logits(model, image), logits(spread, image)
    assert np.abs(got - exact).max() < 1e-4 * np.abs(exact).max()
    ratios = [largest(b) / largest(a) for a, b in zip(depthwise(model), depthwise(spread), strict=True)]
    assert all(1 / 30 <= ratio.min() < 0.2 and 5 < ratio.max() <= 30 for ratio in ratios)
    assert onnx.load(HERE / "digits_net.onnx") == model


def test_a_network_without_depthwise_convolutions_has_nothing_to_spread() -> None:
    empty = helper.make_model(helper.make_graph([], "empty", [], []))
    with pytest.raises(ValueError, match="no depthwise convolution"):
        with_channel_spread(empty, 10.0)


def test_the_sets_of_words_share_none() -> None:
    sets = [set(words(part)) for part in SETS]
    assert [len(part) for part in sets] == [160, 100, 240]
    assert not sets[0] & sets[1] | sets[0] & sets[2] | sets[1] & sets[2]


def test_rendering_repeats_itself_and_fits_the_recogniser() -> None:
    first, again = render_set("tuning"), render_set("tuning")
    assert [word.text for word in first] == [word.text for word in again]
    assert all((a.pixels == b.pixels).all() for a, b in zip(first, again, strict=True))
    assert all(word.pixels.shape[0] == HEIGHT and 1 <= word.pixels.shape[1] <= WIDTH for word in first)
    line = on_line(np.full((HEIGHT, 2, 3), 255, np.uint8))
    assert line.shape == (3, HEIGHT, WIDTH)
    assert (line[:, :, :2] == 1).all()
    assert not line[:, :, 2:].any()


def test_photos_are_named_once() -> None:
    named = (HERE / "photos.txt").read_text(encoding="ascii").split()
    assert len(named) == len(set(named)) > 100


def test_integers_pass_through_a_pool_and_float_operands_are_told() -> None:
    facts = qdq_facts(pooled())
    assert facts["weighted_nodes"] == 2
    assert facts["float_nodes"] == ["second"]
    assert facts["activations"] == {"uint8 asymmetric, per tensor": 1}


def test_two_int8_networks_are_told_apart_on_the_same_samples(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    exact, blurred = onnx.load(HERE / "digits_net.onnx"), onnx.load(HERE / "digits_net.onnx")
    for tensor in blurred.graph.initializer:
        values = numpy_helper.to_array(tensor)
        noise = rng.normal(0, values.std(), values.shape).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values + noise, tensor.name))
    image = rng.integers(0, 256, (64, 28, 28), np.uint8)
    normalised = (image[:, None].astype(np.float32) / 255 - np.float32(0.1307)) / np.float32(0.3081)
    np.savez(tmp_path / "set.npz", image=image, label=logits(exact, normalised).argmax(axis=1))
    data = arrays(tmp_path / "set.npz", preprocess=DIGITS)
    subject = Subject("digits", HERE, data, data, data, (TopK(1),), (SameClass("logits"),))
    fp32, worse = answers(exact, data), answers(blurred, data)
    itself, other = scored(subject, data, fp32, fp32), scored(subject, data, fp32, worse)
    assert itself["agreement"]["share"] == itself["same class as FP32"]["mean"] == itself["top-1"]["int8"] == 1
    assert other["same class as FP32"]["mean"] == other["agreement"]["share"] == other["top-1"]["int8"] < 1
    gain = beside(subject, data, fp32, (fp32, worse))
    assert gain["top-1"]["gain"] == pytest.approx(other["top-1"]["drop_points"])
    assert gain["same class as FP32"]["gain"] == pytest.approx(1 - other["agreement"]["share"])
    assert gain["same class as FP32"]["interval"][0] > 0


def test_an_unknown_subject_is_refused_with_those_there_are() -> None:
    places = Places(HERE, HERE)
    with pytest.raises(InputError, match=f"there are {', '.join(SUBJECTS)}"):
        open_subject("lite9", places)


def test_the_shipped_network_needs_no_folder() -> None:
    subject = open_subject("fashion", Places(HERE, HERE))
    assert [len(part) for part in (subject.calibration, subject.tuning, subject.evaluation)] == [1000, 2000, 5000]
    used = [part.identity.digest for part in (subject.calibration, subject.tuning, subject.evaluation)]
    assert len(set(used)) == 3


def logits(model: onnx.ModelProto, image: F32) -> F32:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"image": image})
    return np.asarray(got)


def depthwise(model: onnx.ModelProto) -> list[F32]:
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found = [weights[node.input[1]] for node in model.graph.node if node.op_type == "Conv"]
    return [weight for weight in found if weight.shape[1] == 1 and weight.shape[2] == 3][1:]


def largest(weight: F32) -> F32:
    return np.abs(weight).max(axis=(1, 2, 3))


def pooled() -> onnx.ModelProto:
    """Two convolutions: one on Q/DQ through a max pool, one on its float result."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "zero"], ["xd"]),
        helper.make_node("MaxPool", ["xd"], ["pool"], kernel_shape=[2, 2]),
        helper.make_node("DequantizeLinear", ["w", "s", "none"], ["wd"]),
        helper.make_node("Conv", ["pool", "wd"], ["mid"], "first"),
        helper.make_node("Conv", ["mid", "wd"], ["y"], "second"),
    ]
    constants = {
        "s": np.float32(0.1),
        "zero": np.uint8(3),
        "none": np.int8(0),
        "w": np.ones((2, 2, 1, 1), np.int8),
    }
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, None, None]) for name in ("x", "y")]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "pooled", info[:1], info[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
