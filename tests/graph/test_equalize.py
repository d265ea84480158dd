"""Equalization: FP32 stays what it was, bit for bit, and INT8 survives a spread of channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlab.graph.equalize import Equalized, EqualizeOptions, equalize, wanted
from quantlab.graph.model import Model, load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.probe import expose
from quantlab.graph.view import Graph
from tests.graph.channel_nets import Feeds, channel_ranges, difference, feeds, of, peaks_of, random_net, spread_net, two
from tests.graph.nets import net, net_of
from tests.graph.quantizing import SAME, constant, operators, quantized, ranges, run, table

MOVING = EqualizeOptions(clip="per-channel")
SEEDS = st.integers(0, 10_000)
HERE = Path(__file__).parents[2]


def reason(model: Model, node: str, options: EqualizeOptions | None = None) -> str:
    return equalize(model, options=options).skipped[node]


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_powers_of_two_leave_every_output_as_it_was_bit_for_bit(seed: int) -> None:
    model = random_net(seed)
    assert difference(model, equalize(model).model, feeds(seed)) == 0.0


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_any_scales_leave_outputs_equal_but_for_rounding(seed: int) -> None:
    model = random_net(seed)
    done = equalize(model, options=EqualizeOptions(clip="per-channel", steps="any"))
    # One net in thousands adds its layers' roundings up to 1.1e-5; real ones stay below 1e-5 (equalization.json).
    assert difference(model, done.model, feeds(seed)) < 3e-5


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_exactly_the_tensors_called_changed_are_changed(seed: int) -> None:
    model, given_feeds = random_net(seed), feeds(seed)
    done = equalize(model)
    names = tuple(n for n in Graph(model.proto).float_activations() if n not in ("x", "y"))
    before, after = (run(expose(m.proto, names), given_feeds) for m in (model, done.model))
    order = [o.name for o in expose(model.proto, names).graph.output]
    differ = {n for n, a, b in zip(order, before, after, strict=True) if not np.array_equal(a, b)}
    assert differ <= set(done.changed)
    # What is called changed may hold nothing but zeros in the channels concerned.
    assert all(n in differ or not np.all(b) for n, b in zip(order, before, strict=True) if n in done.changed)


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_every_weighted_operator_is_balanced_or_told_why_not(seed: int) -> None:
    model = random_net(seed)
    done = equalize(model)
    weighted = {n.name for n in model.proto.graph.node if n.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul")}
    producers = {pair.producer for pair in done.pairs}
    assert producers | set(done.skipped) == weighted
    assert not producers & set(done.skipped)


def test_random_nets_are_really_scaled() -> None:
    scaled = [equalize(random_net(seed)) for seed in range(12)]
    assert sum(any(pair.largest > 2 * pair.smallest for pair in done.pairs) for done in scaled) > 8


def decibels(model: Model, given_feeds: Feeds) -> float:
    """Return the SQNR of INT8 with a scale a channel of weights and one a tensor of activations, by min-max."""
    int8 = quantized(model.proto, table(ranges(model.proto, given_feeds))).proto
    exact, got = run(model.proto, given_feeds)[0], run(int8, given_feeds)[0]
    return float(10 * np.log10((exact**2).sum() / ((got - exact) ** 2).sum()))


def test_int8_collapses_with_a_spread_of_30_and_recovers() -> None:
    given_feeds = {"x": np.random.default_rng(5).normal(size=(32, 3, 8, 8)).astype("f")}
    even, spread, weights, seen = [], [], [], []
    for seed in range(4):
        model = spread_net(30.0, seed)
        peaks = peaks_of(model, wanted(model), given_feeds)
        even.append(decibels(spread_net(1.0, seed), given_feeds))
        spread.append(decibels(model, given_feeds))
        weights.append(decibels(equalize(model).model, given_feeds))
        seen.append(decibels(equalize(model, peaks).model, given_feeds))
    assert np.mean(spread) < np.mean(even) - 15
    assert np.mean(weights) > np.mean(even) - 2
    assert np.mean(seen) > np.mean(even) - 1


def test_channels_that_were_stretched_come_back_to_one_size() -> None:
    model = spread_net(30.0)
    given_feeds = feeds()
    done = equalize(model)
    tensor = next(n.output[0] for n in model.proto.graph.node if n.op_type == "Relu")
    before, after = (channel_ranges(m, tensor, given_feeds) for m in (model, done.model))
    assert before.max() / np.median(before) > 5
    assert after.max() / np.median(after) < before.max() / np.median(before) / 2


def test_both_ranges_become_their_geometric_mean() -> None:
    model = two("r = Relu(c)")
    done = equalize(model, options=EqualizeOptions(steps="any"))
    w, v = constant(model.proto, "w"), constant(model.proto, "v")
    got_w, got_v = constant(done.model.proto, "w"), constant(done.model.proto, "v")
    expected = np.sqrt(np.abs(w).max(axis=(1, 2, 3)) * np.abs(v).max(axis=(0, 2, 3)))
    np.testing.assert_allclose(np.abs(got_w).max(axis=(1, 2, 3)), expected, rtol=1e-5)
    np.testing.assert_allclose(np.abs(got_v).max(axis=(0, 2, 3)), expected, rtol=1e-5)
    factor = np.abs(w).max(axis=(1, 2, 3)) / expected
    np.testing.assert_allclose(constant(done.model.proto, "b") * factor, constant(model.proto, "b"), rtol=1e-5)
    pair = done.pairs[0]
    assert (pair.producer, pair.consumer, pair.channels) == ("Conv0", "Conv2", 4)
    np.testing.assert_allclose((pair.smallest, pair.largest), (factor.min(), factor.max()), rtol=1e-5)


@pytest.mark.parametrize(
    ("between", "why"),
    [
        ("r = Sigmoid(c)", "Sigmoid «Sigmoid1» does not commute with a scale"),
        ("r = HardSwish(c)", "HardSwish «HardSwish1» does not commute with a scale"),
        ("k = Clip(c, zero, six) \n r = Relu(k)", "has the bounds 0 and 6"),
        ("r = Add(c, s)", "joins it with «s», which cannot be scaled"),
        ("s2 = Sigmoid(c) \n r = Mul(c, s2)", "Sigmoid «Sigmoid1»"),
        ("r = Softmax<axis = 1>(c)", "Softmax"),
        ("r = Cast<to = 1>(c)", "Cast"),
    ],
)
def test_a_border_is_skipped_with_the_reason(between: str, why: str) -> None:
    text = (
        f"g (float[N,3,8,8] x, float[N,4,8,8] s) => (float[N,5,h,w] y) {{ c = Conv{SAME}(x, w) \n {between} \n"
        "y = Conv(r, v) }"
    )
    random = np.random.default_rng(0)
    arrays = {"w": random.normal(size=(4, 3, 3, 3)).astype("f"), "v": random.normal(size=(5, 4, 1, 1)).astype("f")}
    model = of(net_of(text, **arrays, zero=np.zeros((), "f"), six=np.full((), 6, "f")))
    assert why in reason(model, "Conv0")
    assert equalize(model).pairs == ()


def test_what_is_an_output_too_keeps_its_values() -> None:
    text = f"g (float[N,3,8,8] x) => (float[N,5,8,8] y, float[N,4,8,8] r) {{ c = Conv{SAME}(x, w) \n r = Relu(c) \n"
    model = of(net(text + "y = Conv(r, v) }", w=(4, 3, 3, 3), v=(5, 4, 1, 1)))
    assert reason(model, "Conv0") == "«r» is an output of the model."


def test_a_clip_can_get_bounds_a_channel() -> None:
    text = "g (float[N,3,8,8] x) => (float[N,5,6,6] y) { c = Conv(x, w) \n r = Clip(c, low, six) \n y = Conv(r, v) }"
    random = np.random.default_rng(1)
    w, v = random.normal(size=(4, 3, 3, 3)).astype("f") * 4, random.normal(size=(5, 4, 1, 1)).astype("f")
    for low, kinds in ((0.0, ["Conv", "Relu", "Min", "Conv"]), (-1.0, ["Conv", "Max", "Min", "Conv"])):
        model = of(net_of(text, w=w, v=v, low=np.full((), low, "f"), six=np.full((), 6, "f")))
        done = equalize(model, options=MOVING)
        assert operators(done.model.proto) == kinds
        assert "r" in done.changed
        assert difference(model, done.model, feeds()) == 0.0


def test_a_clip_without_an_upper_bound_is_a_relu() -> None:
    text = "g (float[N,3,8,8] x) => (float[N,5,6,6] y) { c = Conv(x, w) \n r = Clip(c, low) \n y = Conv(r, v) }"
    random = np.random.default_rng(1)
    arrays = {"w": random.normal(size=(4, 3, 3, 3)).astype("f"), "v": random.normal(size=(5, 4, 1, 1)).astype("f")}
    assert len(equalize(of(net_of(text, **arrays, low=np.zeros((), "f")))).pairs) == 1


def test_all_that_write_and_read_a_residual_stream_share_its_scales() -> None:
    text = (
        f"g (float[N,3,8,8] x) => (float[N,5,8,8] y) {{ a = Conv{SAME}(x, w) \n b = Relu(a) \n c = Conv{SAME}(b, u) \n"
        "d = Add(b, c) \n y = Conv(d, v) }"
    )
    model = of(net(text, w=(4, 3, 3, 3), u=(4, 4, 3, 3), v=(5, 4, 1, 1)))
    done = equalize(model)
    assert {(p.producer, p.consumer) for p in done.pairs} == {
        ("Conv0", "Conv2"), ("Conv0", "Conv4"), ("Conv2", "Conv2"), ("Conv2", "Conv4"),
    }  # fmt: skip
    assert len({(p.smallest, p.largest) for p in done.pairs}) == 1
    assert difference(model, done.model, feeds()) == 0.0


def test_dead_channels_are_safe() -> None:
    model = two("r = Relu(c)")
    arrays = {t.name: onnx.numpy_helper.to_array(t).copy() for t in model.proto.graph.initializer}
    arrays["w"][0] = 0
    arrays["b"][1] = 0
    arrays["w"][1] = 0
    arrays["v"][:, 2] = 0
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in arrays.items())
    done = equalize(load_model(proto))
    assert all(np.isfinite(constant(done.model.proto, n)).all() for n in "wvb")
    assert 0 < done.pairs[0].smallest <= done.pairs[0].largest < 1e6
    assert difference(load_model(proto), done.model, feeds()) == 0.0


def test_a_row_of_next_to_nothing_does_not_blow_up_its_bias() -> None:
    random = np.random.default_rng(3)
    w, v = random.normal(size=(8, 3, 3, 3)).astype("f"), random.normal(size=(5, 8, 1, 1)).astype("f")
    w[2] *= 1e-9
    b = np.ones(8, "f")
    text = "g (float[N,3,8,8] x) => (float[N,5,6,6] y) { c = Conv(x, w, b) \n r = Relu(c) \n y = Conv(r, v) }"
    done = equalize(of(net_of(text, w=w, v=v, b=b)))
    assert np.abs(constant(done.model.proto, "b")).max() < 8


def test_nan_in_a_weight_keeps_its_neighbours_as_they_are() -> None:
    random = np.random.default_rng(3)
    w, v = random.normal(size=(4, 3, 3, 3)).astype("f"), random.normal(size=(5, 4, 1, 1)).astype("f")
    w[0, 0, 0, 0] = np.nan
    text = "g (float[N,3,8,8] x) => (float[N,5,6,6] y) { c = Conv(x, w) \n r = Relu(c) \n y = Conv(r, v) }"
    done = equalize(of(net_of(text, w=w, v=v)))
    assert done.pairs == ()
    assert done.skipped["Conv0"] == "Conv «Conv0» has a weight that holds NaN, infinity or magnitudes above 1e30."


def test_a_weight_that_two_nodes_share_gets_a_copy_for_each() -> None:
    text = "g (float[N,4,8,8] x) => (float[N,5,4,4] y) { c = Conv(x, w) \n r = Relu(c) \n d = Conv(r, w) \n y = Conv(d, v) }"
    model = of(net(text, w=(4, 4, 3, 3), v=(5, 4, 1, 1)))
    done = equalize(model)
    weights = [n.input[1] for n in done.model.proto.graph.node if n.op_type == "Conv"]
    assert len(set(weights)) == 3
    image = {"x": np.random.default_rng(0).normal(size=(2, 4, 8, 8)).astype("f")}
    assert difference(model, done.model, image) == 0.0


def test_equalizing_twice_changes_nothing_more() -> None:
    text = (
        f"g (float[N,3,8,8] x) => (float[N,5,h,w] y) {{ a = Conv{SAME}(x, w1) \n b = Relu(a) \n"
        f"c = Conv<group = 4, pads = [1, 1, 1, 1]>(b, w2) \n d = Relu(c) \n e = Conv(d, w3) \n y = Conv(e, w4) }}"
    )
    model = of(net(text, w1=(4, 3, 3, 3), w2=(4, 1, 3, 3), w3=(6, 4, 1, 1), w4=(5, 6, 1, 1)))
    once = equalize(model, options=EqualizeOptions(steps="any"))
    again = equalize(once.model, options=EqualizeOptions(steps="any"))
    assert max(pair.largest / pair.smallest for pair in once.pairs) > 1.5
    assert all(0.95 < pair.smallest <= pair.largest < 1.05 for pair in again.pairs)


def test_a_model_without_pairs_comes_back_as_it_was() -> None:
    model = of(net("g (float[N,3,8,8] x) => (float[N,4,6,6] y) { y = Conv(x, w) }", w=(4, 3, 3, 3)))
    done = equalize(model)
    assert done == Equalized(model, (), {"Conv0": "«y» is an output of the model."}, ())


def test_the_model_given_is_not_changed() -> None:
    model = spread_net(30.0)
    before = model.proto.SerializeToString(deterministic=True)
    assert equalize(model).model.digest != model.digest
    assert model.proto.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("options", [EqualizeOptions(), MOVING])
def test_the_shipped_network_computes_the_same(options: EqualizeOptions) -> None:
    model = normalise(load_model(HERE / "calib_data" / "fashion_net.onnx")).model
    name, shape = model.proto.graph.input[0].name, model.proto.graph.input[0].type.tensor_type.shape.dim
    image = np.random.default_rng(0).random((4, *(d.dim_value for d in shape[1:]))).astype("f")
    done = equalize(model, options=options)
    assert len(done.pairs) > 20
    assert difference(model, done.model, {name: image}) == 0.0


@pytest.mark.reference
def test_efficientnet_computes_the_same(reference: Path) -> None:
    model = normalise(load_model(reference / "models" / "efficientnet_lite0.onnx")).model
    image = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype("f")
    for options in (EqualizeOptions(), EqualizeOptions(clip="per-channel", steps="any")):
        done = equalize(model, options=options)
        assert len(done.pairs) > 40
        assert difference(model, done.model, {"input": image}) < 1e-5


@pytest.mark.parametrize("product", ["MatMul(tr, z)", "Transpose<perm = [0, 2, 1]>(turned)"])
def test_channels_of_a_matrix_that_multiplies_a_stack_of_matrices_are_followed(product: str) -> None:
    turned = "zt = Transpose<perm = [0, 2, 1]>(z) \n turned = MatMul(zt, r) \n" if "turned" in product else ""
    model = of(net(
        "g (float[6,8] x, float[2,6,5] z) => (float[2,5,4] y) { a = MatMul(x, w1) \n r = Relu(a) \n"
        f"tr = Transpose<perm = [1, 0]>(r) \n {turned} m = {product} \n n = Transpose<perm = [0, 2, 1]>(m) \n y = MatMul(n, w2) }}",
        w1=(8, 7), w2=(7, 4),
    ))  # fmt: skip
    done = equalize(model, options=EqualizeOptions(steps="any"))
    assert [pair.channels for pair in done.pairs] == [7]
    random = np.random.default_rng(4)
    given_feeds = {
        name: random.normal(size=size).astype(np.float32) for name, size in (("x", (6, 8)), ("z", (2, 6, 5)))
    }
    assert 0 < difference(model, done.model, given_feeds) < 1e-5
