from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from quantlab.builder import QuantizeOptions, quantize
from quantlab.calibration.scale_table import ScaleTable
from quantlab.errors import InputError, UsageError
from quantlab.graph.model import load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.placement import place
from quantlab.graph.qdq import insert_qdq
from quantlab.graph.target import Target
from quantlab.graph.view import Graph
from quantlab.numerics.affine import quantize as integers_of
from quantlab.numerics.arrays import Tensors
from quantlab.numerics.error_sums import ErrorSums
from quantlab.tuning.activation_scales import ActivationScales
from quantlab.tuning.adaptive_rounding import AdaptiveRounding
from quantlab.tuning.bias_correction import EmpiricalBias
from quantlab.tuning.networks import Networks
from quantlab.tuning.walk import Walked, WalkOptions, walk
from tests.graph.nets import net, residual_net
from tests.graph.quantizing import constant
from tests.networks import small_cnn
from tests.tuning.nets import Rows, grouped_net, int8_outputs, matmul_net, outputs, smooth, table_of

IMAGES = {"x": smooth(64)}
OTHERS = {"x": smooth(32, seed=9)}


def walked(model: onnx.ModelProto, inputs: Tensors, target: str = "tensorrt", **settings: object) -> Walked:
    table = table_of(model, inputs, target)
    options = WalkOptions(**{"threads": 1} | settings)  # type: ignore[arg-type]
    return walk(load_model(model), table, QuantizeOptions(target=target), Rows(inputs), settings=options)


def sqnr(model: onnx.ModelProto, result: Walked, inputs: Tensors, target: str = "tensorrt") -> float:
    return ErrorSums.of(outputs(model, inputs), int8_outputs(result.model, result.table, inputs, target)).sqnr_db


def plain_sqnr(model: onnx.ModelProto, table: ScaleTable, inputs: Tensors, target: str = "tensorrt") -> float:
    return ErrorSums.of(outputs(model, inputs), int8_outputs(model, table, inputs, target)).sqnr_db


@pytest.mark.parametrize("target", ["tensorrt@8.6", "ort"])
def test_a_walk_brings_the_output_closer_to_fp32_on_other_samples(target: str) -> None:
    model = residual_net()
    before = plain_sqnr(model, table_of(model, IMAGES, target), OTHERS, target)
    assert sqnr(model, walked(model, IMAGES, target), OTHERS, target) > before + 1


def test_the_weights_are_what_their_integers_stand_for() -> None:
    result = walked(residual_net(), IMAGES)
    placement = place(Graph(result.model.proto), Target.parse("tensorrt"))
    stored = insert_qdq(result.model, result.table, placement, weights="int8").proto
    integers = {i.name: onnx.numpy_helper.to_array(i) for i in stored.graph.initializer if i.data_type == 3 and i.dims}
    graph = Graph(result.model.proto)
    rows = [row for row in result.table.rows if row.role == "weight"]
    assert rows
    for row in rows:
        weight, found = graph.constant(row.tensor), integers[f"{row.tensor}_quantized"]
        assert weight is not None
        shape = [1] * weight.ndim
        shape[row.axis or 0] = -1
        assert np.array_equal(found.astype(np.float32) * row.params.scale.reshape(shape), weight)
        assert np.array_equal(integers_of(weight, row.params), found)


def test_the_same_arguments_give_the_same_bits() -> None:
    one, two = (walked(residual_net(), IMAGES) for _ in range(2))
    assert one.model.digest == two.model.digest
    assert one.table == two.table


def test_tensors_computed_again_give_what_kept_ones_give() -> None:
    wide = walked(residual_net(), IMAGES, samples=16, correction=EmpiricalBias())
    # 16 samples of 3·16·16 floats are 49 kB: an eighth of this holds no feature map of 16 samples.
    tight = walked(residual_net(), IMAGES, samples=16, correction=EmpiricalBias(), memory=250_000)
    assert wide.samples == tight.samples == 16
    assert [change.node for change in wide.layers] == [change.node for change in tight.layers]
    assert sqnr(residual_net(), tight, OTHERS) == pytest.approx(sqnr(residual_net(), wide, OTHERS), abs=1)


def test_fewer_samples_go_along_where_memory_is_short() -> None:
    result = walked(residual_net(), IMAGES, memory=60_000)
    assert 0 < result.samples < 64
    assert result.layers


def test_correcting_biases_leaves_the_weights() -> None:
    result = walked(residual_net(), IMAGES, correction=EmpiricalBias())
    before, after = residual_net(), result.model.proto
    assert all(np.array_equal(constant(before, f"w{i}"), constant(after, f"w{i}")) for i in range(1, 7))
    assert any(not np.array_equal(constant(before, f"b{i}"), constant(after, f"b{i}")) for i in range(1, 7))
    assert all(row.role != "weight" for row in result.table.rows)
    assert all(change.changed == 0 for change in result.layers)


def test_the_head_that_stays_float_is_left_alone() -> None:
    result = walked(residual_net(), IMAGES)
    assert [change.node for change in result.layers] == [f"Conv{i}" for i in (1, 3, 5, 8, 12)]
    assert np.array_equal(constant(result.model.proto, "w6"), constant(residual_net(), "w6"))


def test_each_change_tells_what_it_did() -> None:
    result = walked(residual_net(), IMAGES)
    for change in result.layers:
        assert change.after_db >= change.before_db - 1e-6
        assert 0 <= change.changed <= 1
        assert change.multiplier == 1
    assert any(change.changed > 0 for change in result.layers)


def test_matrices_of_sequences_are_corrected_with_and_without_bias() -> None:
    random = np.random.default_rng(3)
    mix = random.normal(size=(4, 12))
    given, other = ({"x": (random.normal(size=(n, 7, 4)) @ mix).astype("f") + 0.3} for n in (64, 32))
    result = walked(matmul_net(), given)
    assert [change.node for change in result.layers] == ["MatMul0", "MatMul3", "MatMul5"]
    assert sqnr(matmul_net(), result, other) > plain_sqnr(matmul_net(), table_of(matmul_net(), given), other)


def test_groups_are_corrected_and_a_transposed_convolution_is_left_with_the_reason() -> None:
    given, other = {"x": smooth(64, channels=4, size=8)}, {"x": smooth(32, channels=4, size=8, seed=5)}
    result = walked(grouped_net(), given)
    assert [change.node for change in result.layers] == ["Conv0", "Conv2"]
    assert "transposed" in result.skipped["ConvTranspose4"]
    assert sqnr(grouped_net(), result, other) > plain_sqnr(grouped_net(), table_of(grouped_net(), given), other)


def test_a_shared_weight_is_left_with_the_reason() -> None:
    text = "g (float[N,3,8,8] x) => (float[N,3,2,2] y) { a = Conv(x, w) \n b = Conv(a, w) \n y = Conv(b, v) }"
    model = net(text, w=(3, 3, 3, 3), v=(3, 3, 3, 3))
    result = walked(model, {"x": smooth(16, size=8)})
    assert set(result.skipped) == {"Conv0", "Conv1"}
    assert all("shared" in reason for reason in result.skipped.values())
    assert not result.layers


def test_operators_that_are_left_are_int8_on_the_walk_too() -> None:
    model = load_model(grouped_net())
    table = table_of(grouped_net(), {"x": smooth(16, channels=4, size=8)})
    networks = Networks.of(normalise(model).model, table, QuantizeOptions())
    nodes = {node.name: node for node in networks.simulated.nodes}
    assert nodes["ConvTranspose4"].input[1] == "w3_dequantized"
    assert nodes["Conv0"].input[1] == "w1"


def test_several_inputs_go_along() -> None:
    text = (
        "g (float[N,3,8,8] x, float[N,3,8,8] z) => (float[N,2,4,4] y) { a = Conv(x, w) \n b = Conv(z, v) \n"
        "s = Add(a, b) \n r = Relu(s) \n y = Conv(r, u) }"
    )
    model = net(text, w=(4, 3, 3, 3), v=(4, 3, 3, 3), u=(2, 4, 3, 3))
    inputs = {"x": smooth(24, size=8), "z": smooth(24, size=8, seed=2)}
    assert {change.node for change in walked(model, inputs).layers} == {"Conv0", "Conv1"}


def test_a_model_of_a_fixed_batch_gets_full_batches() -> None:
    images = smooth(30, size=12)
    model = small_cnn(batch=4)
    with_table = table_of(small_cnn(), {"image": images})
    settings = WalkOptions(threads=1)
    result = walk(load_model(model), with_table, QuantizeOptions(), Rows({"image": images}), settings=settings)
    assert result.samples == 28
    with pytest.raises(InputError, match="no full batch of 4"):
        walk(load_model(model), with_table, QuantizeOptions(), Rows({"image": images[:3]}), settings=settings)


def test_scales_of_activations_are_chosen_by_the_next_layer() -> None:
    model = residual_net()
    table = table_of(model, IMAGES)
    coarse = table.with_rows(replace(row, scale=(float(np.float32(row.scale[0] * 4)),)) for row in table.rows)
    settings = WalkOptions(correction=None, scales=ActivationScales((0.25, 0.5)), threads=1)
    result = walk(load_model(model), coarse, QuantizeOptions(), Rows(IMAGES), settings=settings)
    assert result.layers[0].multiplier < 1
    assert result.table["x"].scale[0] < coarse["x"].scale[0]
    assert "next layer" in result.table["x"].method
    assert sqnr(model, result, OTHERS) > plain_sqnr(model, coarse, OTHERS) + 3


def test_a_row_under_a_name_that_normalising_removes_is_found() -> None:
    convolutions = "a = Conv(x, w) \n i = Identity(a) \n b = Conv(i, v) \n y = Conv(b, u)"
    model = net(
        f"g (float[N,3,8,8] x) => (float[N,2,2,2] y) {{ {convolutions} }}",
        w=(4, 3, 3, 3),
        v=(2, 4, 3, 3),
        u=(2, 2, 3, 3),
    )
    images = {"x": smooth(16, size=8)}
    table = table_of(model, images)
    renamed = ScaleTable(tuple(replace(row, tensor="i" if row.tensor == "a" else row.tensor) for row in table.rows))
    assert "i" in renamed
    result = walk(load_model(model), renamed, QuantizeOptions(), Rows(images), settings=WalkOptions(threads=1))
    assert [change.node for change in result.layers] == ["Conv0", "Conv2"]
    assert "a" in quantize(result.model, result.table).quantized


def test_nodes_that_stay_float_by_wish_are_left_alone() -> None:
    options = QuantizeOptions(keep_float=("Conv3",))
    table = table_of(residual_net(), IMAGES)
    result = walk(load_model(residual_net()), table, options, Rows(IMAGES), settings=WalkOptions(threads=1))
    assert [change.node for change in result.layers] == ["Conv1", "Conv5", "Conv8", "Conv12"]
    assert np.array_equal(constant(result.model.proto, "w2"), constant(residual_net(), "w2"))


def test_progress_is_told_after_each_operator() -> None:
    told: list[tuple[int, int]] = []
    walked(residual_net(), IMAGES, correction=None, progress=lambda done, total: told.append((done, total)))
    assert told == [(i, 5) for i in range(1, 6)]


def test_bad_samples_and_settings_are_refused() -> None:
    model, table = residual_net(), table_of(residual_net(), IMAGES)
    spoilt = {"x": IMAGES["x"].copy()}
    spoilt["x"][3, 0, 0, 0] = np.nan
    for data, reason in ((Rows(spoilt), "NaN"), (Rows({"x": IMAGES["x"][:0]}), "full batch")):
        with pytest.raises(InputError, match=reason):
            walk(load_model(model), table, QuantizeOptions(), data, settings=WalkOptions(threads=1))
    with pytest.raises(InputError, match="lacks"):
        walk(load_model(model), table.without("x"), QuantizeOptions(), Rows(IMAGES))
    with pytest.raises(UsageError, match="at least 1"):
        WalkOptions(samples=0)
    with pytest.raises(UsageError, match="strengths"):
        AdaptiveRounding(strengths=(0.0,))


def test_missing_rows_may_stay_float() -> None:
    table = table_of(residual_net(), IMAGES).without("x")
    options = QuantizeOptions(allow_missing=True)
    result = walk(load_model(residual_net()), table, options, Rows(IMAGES), settings=WalkOptions(threads=1))
    assert "Conv1" not in {change.node for change in result.layers}
    assert result.layers
