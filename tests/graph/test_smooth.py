"""Scale migration: FP32 stays what it was, outliers go, and what it costs is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlab.errors import InputError, UsageError
from quantlab.graph.model import Model, load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.probe import expose
from quantlab.graph.smooth import Smoothed, SmoothOptions, smooth, wanted
from quantlab.numerics.arrays import F32
from tests.graph.channel_nets import Feeds, difference, feeds, random_net
from tests.graph.nets import net, net_of
from tests.graph.quantizing import constant, operators, quantized, ranges, run, table

RANDOM = np.random.default_rng(6)
FEED = {"x": RANDOM.normal(size=(2, 5, 8)).astype("f")}
ANY = SmoothOptions(steps="any")
FOLDED = SmoothOptions(where="folded")
SEEDS = st.integers(0, 10_000)


def of(proto: onnx.ModelProto) -> Model:
    return normalise(load_model(proto)).model


def tokens(text: str, **arrays: Any) -> Model:
    return of(net_of(f"g (float[N,T,8] x) => (float[N,T,c] y) {{ {text} }}", **arrays))


def matrix(*shape: int) -> Any:
    return RANDOM.normal(size=shape).astype("f")


def norm() -> dict[str, Any]:
    gamma = np.ones(8, "f")
    gamma[3] = 40  # the outlier channel
    return {"gamma": gamma, "beta": matrix(8)}


def peaks_of(model: Model, given_feeds: Feeds) -> dict[str, F32]:
    names = [name for name in wanted(model) if name not in given_feeds]
    exposed = expose(model.proto, names)
    found = zip([o.name for o in exposed.graph.output], run(exposed, given_feeds), strict=True)
    values = dict(found) | given_feeds
    return {name: np.abs(values[name]).reshape(-1, values[name].shape[-1]).max(axis=0) for name in wanted(model)}


def smoothed(model: Model, options: SmoothOptions | None = None, given_feeds: Feeds = FEED) -> Smoothed:
    """Smooth by the peaks on the feeds, and check that the outputs are what they were."""
    done = smooth(model, peaks_of(model, given_feeds), options=options)
    onnx.checker.check_model(done.model.proto, full_check=True)
    exact = options is None or options.steps == "powers of two"
    assert difference(model, done.model, given_feeds) <= (0.0 if exact else 1e-5)
    return done


def pre_norm() -> Model:
    """Attention with q, k and v behind a LayerNormalization, and an MLP with ReLU, both residual."""
    text = (
        "n = LayerNormalization(x, gamma, beta) \n q = MatMul(n, wq) \n k = MatMul(n, wk) \n v = MatMul(n, wv) \n"
        "vb = Add(v, bv) \n kt = Transpose<perm = [0, 2, 1]>(k) \n s = MatMul(q, kt) \n p = Softmax(s) \n"
        "c = MatMul(p, vb) \n o = MatMul(c, wo) \n r = Add(o, x) \n n2 = LayerNormalization(r, gamma2, beta2) \n"
        "h = Gelu(u) \n y = MatMul(h, wd)"
    ).replace("h = Gelu(u)", "u = MatMul(n2, wu) \n ub = Add(u, bu) \n e = Tanh(ub) \n h = Mul(ub, e)")
    weights = {f"w{i}": matrix(8, 8) for i in "qkvo"} | {"wu": matrix(8, 16), "wd": matrix(16, 8)}
    more = {f"{name}2": value for name, value in norm().items()}
    return tokens(text, **weights, **norm(), **more, bv=matrix(8), bu=matrix(16))


@pytest.mark.parametrize("options", [SmoothOptions(), ANY, FOLDED, SmoothOptions(alpha=0.8, steps="any")])
def test_a_transformer_block_computes_the_same(options: SmoothOptions) -> None:
    done = smoothed(pre_norm(), options)
    costs = {m.tensor: m.cost for m in done.migrations}
    expected = {"n": "nothing", "c": "nothing", "n2": "nothing", "h": "one Mul"}
    if options.where == "folded":
        del expected["h"]
        assert done.skipped == {"h": "Tanh «Tanh14» does not commute with a scale: a Mul would be needed."}
    assert costs == expected
    assert done.new == (() if options.where == "folded" else ("h_smoothed",))
    assert {"n", "v", "vb", "c", "n2"} == set(done.changed)


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_random_networks_compute_the_same_bit_for_bit(seed: int) -> None:
    model = random_net(seed)
    done = smoothed(model, given_feeds=feeds(seed))
    assert {m.tensor for m in done.migrations} | set(done.skipped) == set(wanted(model))


def test_q_k_and_v_share_one_scale_that_is_the_papers() -> None:
    model = pre_norm()
    peaks = peaks_of(model, FEED)
    done = smoothed(model, ANY)
    weights = np.max([np.abs(constant(model.proto, f"w{i}")).max(axis=1) for i in "qkv"], axis=0)
    scales = np.sqrt(peaks["n"] / weights)
    np.testing.assert_allclose(constant(done.model.proto, "gamma"), constant(model.proto, "gamma") / scales, rtol=1e-5)
    np.testing.assert_allclose(constant(done.model.proto, "beta"), constant(model.proto, "beta") / scales, rtol=1e-5)
    for name in ("wq", "wk"):
        expected = constant(model.proto, name) * scales[:, None]
        np.testing.assert_allclose(constant(done.model.proto, name), expected, rtol=1e-5)
    first = done.migrations[0]
    assert first.readers == ("MatMul1", "MatMul2", "MatMul3")
    np.testing.assert_allclose((first.smallest, first.largest), (scales.min(), scales.max()), rtol=1e-5)


def test_alpha_weighs_activations_against_weights() -> None:
    model = tokens("y = MatMul(x, w)", w=matrix(8, 4))
    peaks = peaks_of(model, FEED)["x"]
    rows = np.abs(constant(model.proto, "w")).max(axis=1)
    for alpha in (0.0, 0.25, 0.5, 1.0):
        done = smoothed(model, SmoothOptions(alpha=alpha, steps="any"))
        factor = constant(done.model.proto, "x_smoothing")
        np.testing.assert_allclose(factor, rows ** (1 - alpha) / peaks**alpha, rtol=1e-5)


def test_a_norm_that_others_read_too_gets_a_mul_before_all_that_share_it() -> None:
    text = (
        "n = LayerNormalization(x, gamma, beta) \n q = MatMul(n, wq) \n k = MatMul(n, wk) \n s = Mul(q, k) \n"
        "z = Tanh(s) \n y = Add(z, n)"
    )
    done = smoothed(tokens(text, wq=matrix(8, 8), wk=matrix(8, 8), **norm()))
    (only,) = done.migrations
    assert (only.tensor, only.inserted, only.cost) == ("n", "n_smoothed", "one Mul")
    assert (done.new, done.changed) == (("n_smoothed",), ())
    assert operators(done.model.proto).count("Mul") == 2
    readers = [n for n in done.model.proto.graph.node if n.op_type == "MatMul"]
    assert [n.input[0] for n in readers] == ["n_smoothed"] * 2


def test_a_norm_in_parts_takes_the_scale_in_its_constants() -> None:
    text = (
        "m = ReduceMean<axes = [-1]>(x) \n d = Sub(x, m) \n g = Mul(d, gamma) \n b = Add(g, beta) \n y = MatMul(b, w)"
    )
    done = smoothed(tokens(text, w=matrix(8, 4), **norm()))
    assert [m.cost for m in done.migrations] == ["nothing"]
    assert done.changed == ("g", "b")


def test_a_gated_product_takes_the_scale_in_the_branch_that_is_not_gated() -> None:
    text = "a = MatMul(x, wa) \n s = Sigmoid(a) \n g = Mul(a, s) \n u = MatMul(x, wu) \n h = Mul(g, u) \n y = MatMul(h, wd)"
    done = smoothed(tokens(text, wa=matrix(8, 6), wu=matrix(8, 6), wd=matrix(6, 4)), FOLDED)
    assert [(m.tensor, m.cost) for m in done.migrations] == [("h", "nothing")]
    assert done.changed == ("u", "h")


def test_heads_are_followed_through_reshape_and_transpose() -> None:
    text = (
        "v = MatMul(x, wv) \n a = Reshape(v, apart) \n t = Transpose<perm = [0, 2, 1, 3]>(a) \n z = Relu(t) \n"
        "f = Transpose<perm = [0, 2, 1, 3]>(z) \n m = Reshape(f, merged) \n y = MatMul(m, w)"
    )
    shapes = {"apart": np.array([0, 0, 2, 4]), "merged": np.array([0, 0, -1])}
    done = smoothed(tokens(text, wv=matrix(8, 8), w=matrix(8, 4), **shapes), FOLDED)
    assert [m.tensor for m in done.migrations] == ["m"]
    assert done.changed == ("v", "a", "t", "z", "f", "m")


def test_a_gemm_behind_a_convolution_is_smoothed_through_relu_and_pooling() -> None:
    text = (
        "g (float[N,3,8,8] x) => (float[N,5] y) { c = Conv(x, w, b) \n r = Relu(c) \n p = GlobalAveragePool(r) \n"
        "f = Flatten(p) \n y = Gemm<transB = 1>(f, v, d) }"
    )
    model = of(net(text, w=(4, 3, 3, 3), b=(4,), v=(5, 4), d=(5,)))
    done = smoothed(model, given_feeds=feeds())
    assert [(m.tensor, m.readers, m.cost) for m in done.migrations] == [("f", ("Gemm4",), "nothing")]


def test_int8_suffers_from_an_outlier_channel_and_recovers() -> None:
    weight = matrix(8, 16)
    weight[3] /= 40  # as in language models: large activations, of no larger weight in the sum
    model = tokens("n = LayerNormalization(x, gamma, beta) \n y = MatMul(n, w)", w=weight, **norm())
    given_feeds = {"x": np.random.default_rng(1).normal(size=(8, 16, 8)).astype("f")}

    def decibels(which: Model) -> float:
        int8 = quantized(which.proto, table(ranges(which.proto, given_feeds))).proto
        exact, got = run(model.proto, given_feeds)[0], run(int8, given_feeds)[0]
        return float(10 * np.log10((exact**2).sum() / ((got - exact) ** 2).sum()))

    done = smooth(model, peaks_of(model, given_feeds))
    assert decibels(done.model) > decibels(model) + 10


def test_a_weight_that_two_nodes_share_gets_a_copy() -> None:
    done = smoothed(tokens("a = MatMul(x, w) \n b = Tanh(a) \n y = MatMul(b, w)", w=matrix(8, 8)))
    names = [n.input[1] for n in done.model.proto.graph.node if n.op_type == "MatMul"]
    assert len(set(names)) == 2
    assert [m.cost for m in done.migrations] == ["one Mul"] * 2


def test_zeros_among_peaks_and_weights_are_safe() -> None:
    weight = matrix(8, 4)
    weight[2] = 0
    model = tokens("y = MatMul(x, w)", w=weight)
    peaks = np.abs(FEED["x"]).max(axis=(0, 1))
    peaks[5] = 0
    for given_peaks in (peaks, np.zeros(8, "f")):
        done = smooth(model, {"x": given_peaks}, options=ANY)
        assert np.isfinite(constant(done.model.proto, "x_smoothing")).all()
        assert difference(model, done.model, FEED) < 1e-5


def test_weights_that_cannot_change_are_not_wanted() -> None:
    nan, stack = matrix(8, 4), matrix(2, 8, 8)
    nan[0, 0] = np.nan
    assert wanted(tokens("y = MatMul(x, w)", w=nan)) == ()
    assert wanted(of(net_of("g (float[2,T,8] x) => (float[2,T,8] y) { y = MatMul(x, w) }", w=stack))) == ()


def test_a_tensor_without_peaks_stays_as_it_is() -> None:
    model = pre_norm()
    done = smooth(model, {})
    assert done.model == model
    assert set(done.skipped) == set(wanted(model))
    assert set(done.skipped.values()) == {"There are no peaks of its channels."}


@pytest.mark.parametrize("peaks", [np.ones(7, "f"), np.ones((1, 8), "f"), np.full(8, np.inf, "f"), -np.ones(8, "f")])
def test_peaks_that_do_not_fit_are_refused(peaks: F32) -> None:
    with pytest.raises(InputError, match="peaks of tensor «x»"):
        smooth(tokens("y = MatMul(x, w)", w=matrix(8, 4)), {"x": peaks})


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_outside_0_and_1_is_refused(alpha: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        SmoothOptions(alpha=alpha)


def test_the_model_given_is_not_changed() -> None:
    model = pre_norm()
    before = model.proto.SerializeToString(deterministic=True)
    assert smoothed(model).model.digest != model.digest
    assert model.proto.SerializeToString(deterministic=True) == before
