"""The simulation of TensorRT's INT8 kernels: against its formula on integers, against Q/DQ in float, and for being exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from quantlab.graph.model import load_model
from quantlab.graph.qdq import WeightForm
from quantlab.graph.simulate import simulate, simulation_of
from tests.graph.nets import net, net_of, residual_net
from tests.graph.quantizing import FEED, ORT, operators, quantized, ranges, rows, run, table

F32 = np.float32
ONE = F32(1)
SX, SW, SR, SY = F32(0.0213), np.array([0.0041, 0.0123, 0.0301], F32), F32(0.0377), F32(0.0519)
"""Scales, some of which 1 / (1 / s) in float32 changes."""

KERNEL = (
    "g (int8[N,4] xq, int8[N,3] rq) => (int8[N,3] yq) { x = DequantizeLinear(xq, sx, z) \n r = DequantizeLinear(rq, sr, z) \n"
    "w = DequantizeLinear<axis = 0>(wq, sw, zw) \n c = Gemm<transB = 1>(x, w, b) \n s = Add(c, r) \n"
    "a = Clip(s, low, high) \n yq = QuantizeLinear(a, sy, z) }"
)


def once(x: NDArray[Any], factor: NDArray[Any], term: NDArray[Any]) -> NDArray[np.float32]:
    """Return x · factor + term, rounded once."""
    wide = x.astype(np.longdouble) * factor.astype(np.longdouble) + term.astype(np.longdouble)
    return np.asarray(wide.astype(F32))


def opened(proto: onnx.ModelProto, *, threads: int = 1, optimize: bool = False) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def simulated(proto: onnx.ModelProto) -> onnx.ModelProto:
    found = simulate(load_model(proto)).proto
    onnx.checker.check_model(found, full_check=True)
    return found


def integers(random: np.random.Generator, *shape: int) -> NDArray[np.int8]:
    return random.integers(-128, 128, shape).astype(np.int8)


def dense(weight: NDArray[Any], **scales: float) -> onnx.ModelProto:
    """Return y = Q(x · w) for INT8 x [N, K] and w [K, M] with these scales sx, sw, sy."""
    text = (
        f"g (int8[N,{len(weight)}] xq) => (int8[N,M] yq) {{ x = DequantizeLinear(xq, sx, z) \n w = DequantizeLinear(wq, sw, z) \n"
        "y = MatMul(x, w) \n yq = QuantizeLinear(y, sy, z) }"
    )
    constants = {name: np.array(value, F32) for name, value in scales.items()}
    return net_of(text, wq=weight.astype(np.int8), z=np.zeros((), np.int8), **constants)


def test_a_kernel_computes_the_formula_of_its_docstring_to_the_last_integer() -> None:
    random = np.random.default_rng(5)
    wq, b = integers(random, 3, 4), random.normal(size=3).astype(F32)
    low, high = np.array(-4.1, F32), np.array(5.3, F32)
    scales = {"sx": SX, "sw": SW, "sr": SR, "sy": SY}
    proto = net_of(
        KERNEL, wq=wq, b=b, z=np.zeros((), np.int8), zw=np.zeros(3, np.int8), low=low, high=high,
        **{name: np.asarray(value) for name, value in scales.items()},
    )  # fmt: skip
    kept = [np.asarray(ONE / (ONE / s)) for s in (SX, SW, SR)]
    assert any((k != s).any() for k, s in zip(kept, (SX, SW, SR), strict=True))
    x, r = integers(random, 20_000, 4), integers(random, 20_000, 3)
    total = x.astype(np.int64) @ wq.astype(np.int64).T
    value = once(total, kept[0] * kept[1] / SY, b / SY)
    value = once(r, kept[2] / SY, value)
    expected = np.clip(np.rint(np.clip(value, low / SY, high / SY)), -128, 127)
    assert np.array_equal(opened(simulated(proto)).run(None, {"xq": x, "rq": r})[0], expected)


def test_halves_are_rounded_to_even_and_the_smallest_integer_is_minus_128() -> None:
    proto = dense(np.array([[1]]), sx=0.5, sw=1.0, sy=1.0)
    found = simulate(load_model(proto)).proto
    x = np.array([[1], [3], [5], [-1], [-3], [-5]], np.int8)
    assert opened(found).run(None, {"xq": x})[0].ravel().tolist() == [0, 2, 2, 0, -2, -2]
    wide = simulate(load_model(dense(np.array([[3]]), sx=1.0, sw=1.0, sy=1.0))).proto
    x = np.array([[-128], [127], [-43], [-42]], np.int8)
    assert opened(wide).run(None, {"xq": x})[0].ravel().tolist() == [-128, 127, -128, -126]


@pytest.mark.parametrize("weights", ["qdq", "int8"])
def test_a_network_stays_within_a_step_of_its_qdq_model(weights: WeightForm) -> None:
    proto = residual_net()
    got = quantized(proto, table(ranges(proto, FEED)), weights=weights).proto
    found = simulation_of(load_model(got))
    assert found.integer == tuple(n.name for n in got.graph.node if n.op_type in {"Conv", "Gemm"})
    assert not found.floats
    assert "Pad" not in operators(found.model.proto)
    assert [*found.model.proto.graph.input] == [*got.graph.input]
    assert [*found.model.proto.graph.output] == [*got.graph.output]
    exact, near = run(got, FEED)[0], run(found.model.proto, FEED)[0]
    assert np.abs(exact - near).max() < 0.02 * np.abs(exact).max()


def test_no_bit_depends_on_batch_threads_or_optimization() -> None:
    proto = residual_net()
    found = simulated(quantized(proto, table(ranges(proto, FEED))).proto)
    x = np.random.default_rng(2).normal(size=(9, 3, 16, 16)).astype(F32)
    whole = opened(found).run(None, {"x": x})[0]
    one = opened(found)
    assert np.array_equal(whole, np.concatenate([one.run(None, {"x": x[i : i + 1]})[0] for i in range(9)]))
    assert np.array_equal(whole, opened(found, threads=3).run(None, {"x": x})[0])
    assert np.array_equal(whole, opened(found, optimize=True).run(None, {"x": x})[0])


OPERATORS = {
    "grouped Conv": ("y = Conv<group = 2, strides = [2, 1], pads = [1, 0, 0, 1]>(x, w, b)", (6, 2, 3, 3), (6,)),
    "Conv without bias": ("y = Conv<dilations = [2, 2]>(x, w)", (5, 4, 3, 3), None),
    "ConvTranspose": ("y = ConvTranspose<strides = [2, 2]>(x, w, b)", (4, 3, 2, 2), (3,)),
    "MatMul": ("m = MatMul(x, w) \n y = Add(m, b)", (8, 5), (5,)),
}


@pytest.mark.parametrize("case", list(OPERATORS))
def test_every_weighted_operator_sums_integers(case: str) -> None:
    text, weight, bias = OPERATORS[case]
    shapes: dict[str, tuple[int, ...]] = {"w": weight} | ({"b": bias} if bias else {})
    proto = net(f"g (float[N,4,9,8] x) => (float[N,C,H,W] z) {{ {text} \n z = Relu(y) }}", **shapes)
    got = quantized(proto, rows(x=0.031, y=0.07, z=0.07)).proto
    found = simulation_of(load_model(got))
    assert len(found.integer) == 1, found.floats
    feeds = {"x": np.random.default_rng(1).normal(size=(2, 4, 9, 8)).astype(F32)}
    exact, near = run(got, feeds)[0], run(found.model.proto, feeds)[0]
    assert np.abs(exact - near).max() < 1e-5 * np.abs(exact).max()


def test_a_product_of_two_activations_sums_integers_too() -> None:
    text = "g (float[N,6,7] x, float[N,7,5] v) => (float[N,6,5] y) {{ {} y = MatMul(xd, vd) }}"
    pairs = "".join(f"{t}q = QuantizeLinear({t}, s, z) \n {t}d = DequantizeLinear({t}q, s, z) \n " for t in "xv")
    proto = net_of(text.format(pairs), s=np.array(0.03, F32), z=np.zeros((), np.int8))
    found = simulation_of(load_model(proto))
    assert len(found.integer) == 1
    random = np.random.default_rng(4)
    feeds = {"x": random.normal(size=(2, 6, 7)).astype(F32), "v": random.normal(size=(2, 7, 5)).astype(F32)}
    np.testing.assert_allclose(run(found.model.proto, feeds)[0], run(proto, feeds)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", [1032, 1033, 5000])
def test_sums_above_what_float32_counts_are_split_and_stay_exact(length: int) -> None:
    weight = np.full((length, 2), 127)
    weight[:, 1] = np.resize([127, -126, 5], length)
    proto = dense(weight, sx=1.0, sw=1.0, sy=2.0**20)
    assert operators(simulated(proto)).count("MatMul") == -(-length // 1032)
    exposed = onnx.ModelProto()
    exposed.CopyFrom(proto)
    del exposed.graph.output[:], exposed.graph.node[-1:]
    exposed.graph.output.append(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 2]))
    x = np.full((3, length), 127, np.int8)
    x[1], x[2] = -128, np.resize([127, -3, 0, 11], length)
    total = x.astype(np.int64) @ weight
    assert np.array_equal(run(simulated(exposed), {"xq": x})[0], total.astype(F32))


def test_what_cannot_be_summed_exactly_stays_float_and_says_so() -> None:
    weight = np.full((2, 2000, 1, 1), 127, np.int8)
    text = (
        "g (float[N,4000,1,1] x) => (float[N,2,1,1] y) { q = QuantizeLinear(x, s, z) \n d = DequantizeLinear(q, s, z) \n"
        "w = DequantizeLinear(wq, s, z) \n y = Conv<group = 2>(d, w) }"
    )
    proto = net_of(text, wq=weight, s=np.array(0.5, F32), z=np.zeros((), np.int8))
    found = simulation_of(load_model(proto))
    assert found.integer == ()
    assert "2**24" in found.floats["Conv3"]
    x = np.random.default_rng(0).normal(size=(2, 4000, 1, 1)).astype(F32)
    assert np.array_equal(run(found.model.proto, {"x": x})[0], run(proto, {"x": x})[0])


def reasons(proto: onnx.ModelProto) -> Sequence[str]:
    return list(simulation_of(load_model(proto)).floats.values())


def test_a_float_network_and_one_with_zero_points_stay_as_they_are() -> None:
    proto = residual_net()
    shifted = quantized(proto, table(ranges(proto, FEED)), ORT, weights="int8").proto
    for model in (proto, shifted):
        found = simulation_of(load_model(model))
        assert found.integer == ()
        assert len(found.floats) == 6
        assert np.array_equal(run(model, FEED)[0], run(found.model.proto, FEED)[0])
    assert "no INT8 activation" in reasons(proto)[0]


def test_a_tensor_that_the_model_puts_out_is_not_swallowed_by_a_kernel() -> None:
    proto = residual_net()
    got = quantized(proto, table(ranges(proto, FEED))).proto
    got.graph.output.append(onnx.helper.make_tensor_value_info("c2", onnx.TensorProto.FLOAT, ["N", 8, "H", "W"]))
    found = simulation_of(load_model(got))
    assert len(found.integer) == 6
    exact, near = run(got, FEED)[1], run(found.model.proto, FEED)[1]
    assert np.abs(exact - near).max() < 0.02 * np.abs(exact).max()


def test_simulating_changes_neither_the_model_nor_what_it_tells_of_its_data() -> None:
    proto = residual_net()
    got = quantized(proto, table(ranges(proto, FEED)), metadata={"note": "kept"}).proto
    model = load_model(got)
    before = got.SerializeToString()
    found = simulate(model)
    assert got.SerializeToString() == before
    assert [*found.proto.metadata_props] == [*got.metadata_props]
    assert simulate(model).proto.SerializeToString() == found.proto.SerializeToString()


def test_a_matrix_times_a_vector_with_a_scale_an_element_stays_float() -> None:
    text = (
        "g (int8[N,3] xq) => (float[N] y) { x = DequantizeLinear(xq, sx, z) \n w = DequantizeLinear<axis = 0>(wq, sw, zw) \n"
        "y = MatMul(x, w) }"
    )
    constants = {"sx": SX, "sw": SW, "wq": np.array([10, 20, 30], np.int8), "zw": np.zeros(3, np.int8)}
    proto = net_of(text, z=np.zeros((), np.int8), **{name: np.asarray(value) for name, value in constants.items()})
    found = simulation_of(load_model(proto))
    assert (found.integer, len(found.floats)) == ((), 1)
    xq = integers(np.random.default_rng(3), 3, 3)
    exact = (xq * float(SX)) @ (np.array([10, 20, 30]) * SW.astype(float))
    np.testing.assert_allclose(opened(found.model.proto).run(None, {"xq": xq})[0], exact, rtol=1e-5)


@pytest.mark.parametrize("activation", ["Relu(c)", "Clip(c, low, high)"])
def test_a_model_of_opset_11_whose_clip_takes_no_integers_is_bounded_in_float(activation: str) -> None:
    text = (
        "g (int8[N,4] xq) => (int8[N,3] yq) { x = DequantizeLinear(xq, sx, z) \n w = DequantizeLinear(wq, sx, z) \n"
        f"c = MatMul(x, w) \n a = {activation} \n yq = QuantizeLinear(a, sy, z) }}"
    )
    random = np.random.default_rng(8)
    bounds = {"low": np.array(-0.5, F32), "high": np.array(0.5, F32)} if "low" in activation else {}
    constants = {"sx": SX, "sy": SY, "z": np.zeros((), np.int8), "wq": integers(random, 4, 3), **bounds}
    proto = net_of(text, **{name: np.asarray(value) for name, value in constants.items()})
    older = onnx.ModelProto()
    older.CopyFrom(proto)
    older.opset_import[0].version = 11
    feed = {"xq": integers(random, 50, 4)}
    found = simulation_of(load_model(older))
    assert len(found.integer) == 1
    np.testing.assert_array_equal(
        opened(found.model.proto).run(None, feed)[0], opened(simulated(proto)).run(None, feed)[0]
    )
