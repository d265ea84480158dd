"""Weights as integers behind DequantizeLinear, activations in float."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from quantlab.calibration.weight_methods import MaxAbs, SquaredErrorWeights
from quantlab.errors import InputError, UsageError
from quantlab.graph.metadata import chosen_on, provenance_of
from quantlab.graph.model import load_model, write_model
from quantlab.graph.weight_only import WeightOnly, store_weights
from quantlab.numerics.affine import QuantParams, fake_quantize
from tests.graph.nets import net, net_of, residual_net
from tests.graph.quantizing import FEED, constant, operators, run

TEXT = "g (float[N,64] x) => (float[N,6] y) { a = MatMul(x, w) \n b = Relu(a) \n y = Gemm<transB = 1>(b, v, c) }"
RANDOM = np.random.default_rng(8)
ROWS = {"x": RANDOM.normal(size=(5, 64)).astype(np.float32)}


def matrices() -> onnx.ModelProto:
    return net(TEXT, w=(64, 32), v=(6, 32), c=(6,))


def stored(proto: onnx.ModelProto, **options: Any) -> WeightOnly:
    got = store_weights(load_model(proto), **options)
    onnx.checker.check_model(got.model.proto, full_check=True)
    return got


def with_weights(proto: onnx.ModelProto, values: dict[str, NDArray[Any]]) -> onnx.ModelProto:
    """Return the float model with other weights."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for tensor in copy.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(values[tensor.name].astype(np.float32), tensor.name))
    return copy


def integers(got: WeightOnly, name: str) -> NDArray[Any]:
    return constant(got.model.proto, f"{name}_quantized").astype(np.int64)


def test_int8_weights_compute_what_the_float_model_does_with_rounded_ones(tmp_path: Path) -> None:
    proto = residual_net()
    got = stored(proto, method=MaxAbs())
    assert [weight.axis for weight in got.weights] == [0] * 6
    rounded = {}
    for name in ("w1", "w2", "w3", "w4", "w5", "w6"):
        weight = constant(proto, name)
        scales = MaxAbs()(weight, 0)
        rounded[name] = fake_quantize(weight, QuantParams(scales, np.zeros(scales.shape, np.int64), "int8", 0))
        assert np.array_equal(constant(got.model.proto, f"{name}_scale"), scales)
    expected = run(with_weights(proto, rounded), FEED)[0]
    assert np.allclose(run(got.model.proto, FEED)[0], expected, rtol=1e-5, atol=1e-6)
    assert np.allclose(run(got.model.proto, FEED, optimized=tmp_path / "o.onnx")[0], expected, rtol=1e-4, atol=1e-5)
    assert "QuantizeLinear" not in operators(got.model.proto)


@pytest.mark.parametrize("block", [32, 64])
def test_int4_blocks_compute_what_the_float_model_does_with_rounded_weights(tmp_path: Path, block: int) -> None:
    proto = matrices()
    got = stored(proto, block=block)
    kinds = {weight.tensor: (weight.dtype, weight.axis, weight.block) for weight in got.weights}
    assert kinds["w"] == ("int4", 0, block)
    assert kinds["v"] == (("int4", 1, 32) if block == 32 else ("int8", 0, None))
    rounded = {"w": integers(got, "w") * np.repeat(constant(got.model.proto, "w_scale"), block, 0)}
    scales = constant(got.model.proto, "v_scale")
    rounded["v"] = integers(got, "v") * (np.repeat(scales, 32, 1) if block == 32 else scales[:, None])
    expected = run(with_weights(proto, rounded), ROWS)[0]
    assert np.allclose(run(got.model.proto, ROWS)[0], expected, rtol=1e-4, atol=1e-5)
    assert np.allclose(run(got.model.proto, ROWS, optimized=tmp_path / "o.onnx")[0], expected, rtol=1e-3, atol=1e-3)
    (reference,) = map(np.asarray, ReferenceEvaluator(got.model.proto).run(None, ROWS))
    assert np.allclose(reference, expected, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_int4_says_why_and_is_int8_a_channel() -> None:
    proto = net(
        "g (float[N,3,8,8] x) => (float[N,5] y) { a = Conv(x, w) \n f = Flatten(a) \n y = MatMul(f, v) }",
        w=(4, 3, 3, 3),
        v=(144, 5),
    )
    reasons = {weight.tensor: (weight.dtype, weight.why_int8) for weight in stored(proto, block=32).weights}
    assert reasons == {
        "w": ("int8", "INT4 in blocks is for weights of MatMul and Gemm"),
        "v": ("int8", "its 144 input channels are no multiple of the block of 32"),
    }


def test_tensorrt_gets_int4_or_float() -> None:
    proto = net(
        "g (float[N,64] x) => (float[N,6] y, float[N,7] z) { a = MatMul(x, w) \n y = MatMul(a, v) \n z = MatMul(x, u) }",
        w=(64, 32),
        v=(32, 6),
        u=(64, 7),
    )
    got = stored(proto, block=64, target="tensorrt@10.0")
    assert [(weight.tensor, weight.dtype) for weight in got.weights] == [("w", "int4")]
    assert got.floats == {
        "v": "its 32 input channels are no multiple of the block of 64",
        "u": "its last axis of 7 is odd, and TensorRT packs two integers a byte",
    }
    assert np.array_equal(constant(got.model.proto, "v"), constant(proto, "v"))


@pytest.mark.parametrize(
    ("text", "shape", "axis", "blocked"),
    [
        ("y = Gemm<transB = 1>(x, w)", (6, 64), 0, 1),
        ("y = Gemm(x, w)", (64, 6), 1, 0),
        ("y = MatMul(x, w)", (64, 6), 1, 0),
        ("y = MatMul(x, w)", (1, 64, 6), 2, 1),
        ("y = MatMul(x, w)", (5, 64, 6), None, 1),
    ],
)
def test_scales_lie_along_output_channels_and_blocks_along_input_channels(
    text: str, shape: tuple[int, ...], axis: int | None, blocked: int
) -> None:
    proto = net(f"g (float[5,64] x) => (float y) {{ {text} }}", w=shape)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    assert stored(proto).weights[0].axis == axis
    four = stored(proto, block=32)
    assert (four.weights[0].axis, four.weights[0].dtype) == (blocked, "int4")
    assert np.isfinite(run(four.model.proto, ROWS)[0]).all()


def test_a_constant_left_factor_is_stored_too() -> None:
    proto = net("g (float[64,N] x) => (float[4,N] y) { y = MatMul(w, x) }", w=(4, 64))
    got = stored(proto, block=64)
    assert (got.weights[0].axis, got.weights[0].dtype) == (1, "int4")
    assert run(got.model.proto, {"x": ROWS["x"].T.copy()})[0].shape == (4, 5)


def test_a_weight_with_readers_of_other_axes_is_stored_for_each() -> None:
    text = "g (float[N,64] x) => (float[N,64] y) { a = MatMul(x, w) \n y = Gemm<transB = 1>(a, w) }"
    proto = net(text, w=(64, 64))
    got = stored(proto)
    assert [weight.axis for weight in got.weights] == [1, 0]
    assert {node.op_type for node in got.model.proto.graph.node} == {"DequantizeLinear", "MatMul", "Gemm"}
    assert run(got.model.proto, ROWS)[0].shape == (5, 64)
    assert "w" not in {tensor.name for tensor in got.model.proto.graph.initializer}


def test_a_weight_that_something_else_reads_stays_beside() -> None:
    text = "g (float[N,64] x, float[64,6] u) => (float[N,6] y, float[64,6] z) { y = MatMul(x, w) \n z = Mul(u, w) }"
    proto = net(text, w=(64, 6))
    got = stored(proto)
    assert np.array_equal(constant(got.model.proto, "w"), constant(proto, "w"))


def test_embeddings_and_computed_factors_stay_float() -> None:
    text = "g (int64[N,4] i) => (float[N,4,4] y) { a = Gather(w, i) \n t = Transpose<perm = [0,2,1]>(a) \n b = MatMul(a, t) \n y = MatMul(b, v) }"
    got = stored(net(text, w=(10, 8), v=(4, 4)))
    assert got.floats == {
        "w": "an embedding: DQ would expand the whole table at each run",
        "MatMul2": "both its inputs are computed",
    }
    assert [weight.tensor for weight in got.weights] == ["v"]


def test_only_the_weights_asked_for_are_stored() -> None:
    got = stored(matrices(), only={"v"})
    assert [weight.tensor for weight in got.weights] == ["v"]
    assert got.floats == {"w": "not among the weights asked for"}


def test_the_least_squared_error_is_the_default_and_helps() -> None:
    proto = matrices()
    assert np.array_equal(
        constant(stored(proto).model.proto, "w_scale"), SquaredErrorWeights()(constant(proto, "w"), 1)
    )


def test_the_same_arguments_give_the_same_bytes_and_leave_the_model_alone() -> None:
    proto = matrices()
    before = proto.SerializeToString()
    one, other = (stored(proto, block=32).model.proto.SerializeToString(deterministic=True) for _ in range(2))
    assert one == other
    assert proto.SerializeToString() == before


def test_the_model_tells_what_it_was_made_of_and_that_no_data_had_a_say() -> None:
    model = load_model(matrices())
    got = store_weights(model, block=32).model
    origin = provenance_of(got)
    assert origin is not None
    assert origin.model == model.digest
    assert chosen_on(got) == ()
    assert '"mode": "weight-only-int4"' in got.proto.metadata_props[0].value


def test_names_that_are_taken_get_a_number() -> None:
    text = "g (float[N,64] x) => (float[N,6] y) { w_quantized = Relu(x) \n y = MatMul(w_quantized, w) }"
    got = stored(net(text, w=(64, 6)))
    assert constant(got.model.proto, "w_quantized_1").dtype == np.int8
    assert run(got.model.proto, ROWS)[0].shape == (5, 6)


def test_files_are_a_quarter_and_an_eighth_of_the_size(tmp_path: Path) -> None:
    proto = net("g (float[N,1024] x) => (float[N,512] y) { y = MatMul(x, w) }", w=(1024, 512))
    sizes = [
        write_model(model, tmp_path / f"{i}.onnx").stat().st_size
        for i, model in enumerate((load_model(proto), stored(proto).model, stored(proto, block=128).model))
    ]
    assert 3.9 < sizes[0] / sizes[1] < 4
    assert 7 < sizes[0] / sizes[2] < 8


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"target": "tensorrt@8.6", "block": 64}, "cannot read INT4; the first that can is tensorrt@10.0"),
        ({"target": "tensorrt@10.3", "block": 32}, "blocks of 64 or 128 values, not of 32"),
        ({"block": 48}, "blocks of 32, 64, 128 values, not of 48"),
        ({"block": 0}, "not of 0"),
    ],
)
def test_what_a_target_does_not_take_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        store_weights(load_model(matrices()), **options)


@pytest.mark.parametrize("block", [None, 32])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_with_nan_is_refused_by_name(block: int | None, value: float) -> None:
    weight = np.ones((64, 6), np.float32)
    weight[3, 2] = value
    proto = net_of("g (float[N,64] x) => (float[N,6] y) { y = MatMul(x, w) }", w=weight)
    with pytest.raises(InputError, match="Weight 'w' holds NaN or infinity"):
        store_weights(load_model(proto), block=block)


def test_dead_channels_and_blocks_stay_loadable() -> None:
    weight = RANDOM.normal(size=(64, 6)).astype(np.float32)
    weight[:, 2] = 0
    weight[:32, 4] = 0
    proto = net_of("g (float[N,64] x) => (float[N,6] y) { y = MatMul(x, w) }", w=weight)
    for block in (None, 32):
        got = run(stored(proto, block=block).model.proto, ROWS)[0]
        assert not got[:, 2].any()
        assert np.isfinite(got).all()


def test_a_model_without_weights_or_with_qdq_is_refused() -> None:
    with pytest.raises(InputError, match="No weight of g can be stored"):
        store_weights(load_model(net("g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }")))
    with pytest.raises(InputError, match="already has Q/DQ"):
        store_weights(stored(matrices()).model)


@pytest.mark.reference
def test_all_weights_of_efficientnet_lite0_are_stored(reference: Path) -> None:
    got = store_weights(load_model(reference / "models" / "efficientnet_lite0.onnx"), method=MaxAbs())
    assert len(got.weights) == 50
    assert not got.floats
