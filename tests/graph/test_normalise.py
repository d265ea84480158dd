from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, parser

from quantlab.errors import InputError
from quantlab.graph.derive import Derivation, Same, derivations
from quantlab.graph.model import load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.view import Graph, attribute
from tests.graph.equal_models import (
    at_opset,
    check_equal,
    conv_norm,
    f32,
    i64,
    image,
    model,
    norm,
    operators,
    run,
    weights,
)

# Names


def test_unnamed_nodes_get_names_from_operator_and_position() -> None:
    proto = model("net (float[N] x) => (float[N] y) { a = Relu(x) \n [Neg_1] b = Abs(a) \n y = Neg(b) }")
    result = check_equal(proto, {"x": f32([-1, 2])})
    assert [n.name for n in result.model.proto.graph.node] == ["Relu_0", "Neg_1", "Neg_2"]
    assert result.notes == ("2 nodes had no name and were given one.",)
    assert [n.name for n in proto.graph.node] == ["", "Neg_1", ""]


def test_repeated_node_names_get_a_number() -> None:  # ONNX Runtime refuses them
    proto = model("net (float[N] x) => (float[N] y) { [n] a = Relu(x) \n [n] b = Abs(a) \n [n_1] y = Neg(b) }")
    result = normalise(load_model(proto))
    assert result.notes == ("1 nodes had the name of another and were given a number.",)
    assert [n.name for n in result.model.proto.graph.node] == ["n", "n_1_", "n_1"]


def test_names_with_slashes_colons_and_spaces_stay() -> None:
    proto = model("net (float[N] x) => (float[N] y) { a = Relu(x) \n y = Neg(a) }")
    for node, name in zip(proto.graph.node, ("/stage 1/relu:0", "/neg"), strict=True):
        node.name = name
    proto.graph.node[0].output[0] = proto.graph.node[1].input[0] = "StatefulCall/relu 6:0"
    result = check_equal(proto, {"x": f32([1])})
    assert result.model.proto.graph.node[0].name == "/stage 1/relu:0"
    assert result.model.proto.graph.node[0].output == ["StatefulCall/relu 6:0"]
    assert result.names == {}


def test_normalising_twice_changes_nothing_more() -> None:
    once = check_equal(conv_norm(), image(2, 3, 6, 6))
    twice = normalise(once.model)
    assert twice.model == once.model
    assert (twice.notes, twice.names, twice.gone) == ((), {}, ())


# Identity and Dropout


def test_identities_and_dropout_are_removed_and_reported() -> None:
    proto = model(
        """net (float[N] x) => (float[N] y) {
        a = Identity(x) \n b = Identity(a) \n c = Relu(b) \n d = Dropout(c, ratio)
        e, mask = Dropout(d, ratio, off) \n y = Neg(e) }""",
        ratio=np.float32(0.5),
        off=np.array(False),
    )
    result = check_equal(proto, {"x": f32([1, -2])})
    assert operators(result) == ["Relu", "Neg"]
    assert result.aliases == {"a": "x", "b": "x", "d": "c", "e": "c"}


def test_dropout_whose_mask_is_used_or_that_trains_stays() -> None:
    proto = model(
        """net (float[N] x) => (float[N] y, bool[N] mask) {
        a, mask = Dropout(x) \n b = Dropout(a, ratio, on) \n y = Neg(b) }""",
        ratio=np.float32(0),
        on=np.array(True),
    )
    assert operators(check_equal(proto, {"x": f32([1, -2])})) == ["Dropout", "Dropout", "Neg"]


def test_an_identity_before_an_output_gives_its_name_to_the_producer() -> None:
    proto = model("""net (float[N] x) => (float[N] y, float[N] z) {
        a = Relu(x) \n y = Identity(a) \n b = Neg(x) \n z = Exp(b) }""")
    result = check_equal(proto, {"x": f32([1, -2])})
    assert [(n.op_type, *n.input, *n.output) for n in result.model.proto.graph.node] == [
        ("Relu", "x", "y"), ("Neg", "x", "b"), ("Exp", "b", "z")]  # fmt: skip
    assert result.names == {"y": "a"}


def test_an_output_that_equals_a_tensor_with_other_readers_leaves_both_their_names() -> None:
    proto = model("""net (float[N] x) => (float[N] y, float[N] z) {
        a = Relu(x) \n y = Identity(a) \n d = Dropout(a) \n b = Neg(d) \n z = Exp(b) }""")
    result = check_equal(proto, {"x": f32([1, -2])})
    assert [(n.op_type, *n.input, *n.output) for n in result.model.proto.graph.node] == [
        ("Relu", "x", "a"), ("Identity", "a", "y"), ("Neg", "a", "b"), ("Exp", "b", "z")]  # fmt: skip
    assert (result.names, result.aliases) == ({}, {"d": "a"})
    assert derivations(Graph(result.model.proto))["y"] == Derivation("a", Same())


def test_aliases_follow_the_name_of_an_output() -> None:
    proto = model("net (float[N] x) => (float[N] y) { a = Relu(x) \n b = Identity(a) \n y = Identity(b) }")
    result = check_equal(proto, {"x": f32([1, -2])})
    assert (operators(result), result.names, result.aliases) == (["Relu"], {"y": "a"}, {"b": "y"})


@pytest.mark.parametrize(
    "body",
    [
        "y = Identity(x)",  # an input is an output
        "y = Identity(w)",  # a constant is an output
        "y = Relu(x) \n z = Identity(y)",  # one tensor is two outputs
        "r = Relu(x) \n y = Identity(r) \n z = Identity(r)",  # so it is here
    ],
)
def test_an_identity_stays_where_its_name_cannot_move(body: str) -> None:
    outputs = "float[N] y, float[N] z" if "z =" in body else "float[N] y"
    proto = model(f"net (float[N] x) => ({outputs}) {{ {body} }}", w=f32([1, 2]))
    assert operators(check_equal(proto, {"x": f32([1, -2])})).count("Identity") == body.count("Identity")


# Bodies, functions, opsets


def with_if() -> onnx.ModelProto:
    return model("""net (float[N,3] x, bool c) => (float[N,3] y) {
        i = Identity(x) \n k = Constant<value_floats = [1.0, 2.0, 3.0]>()
        r = Relu(x) \n j = Identity(r)
        f = If(c) <
          then_branch = t () => (float[N,3] a) { two = Constant<value_float = 2.0>() \n d = Mul(i, two) \n a = Add(d, k) },
          else_branch = e () => (float[N,3] b) { h = Identity(j) \n b = Neg(h) }>
        y = Add(f, j) }""")


@pytest.mark.parametrize("condition", [True, False])
def test_bodies_stay_as_they_are_and_a_note_says_so(condition: bool) -> None:
    proto = with_if()
    result = check_equal(proto, {**image(2, 3), "c": np.array(condition)})
    before, after = (
        {a.name: a.g for n in p.graph.node for a in n.attribute if n.op_type == "If"}
        for p in (proto, result.model.proto)
    )
    assert before == after
    assert result.notes[-1] == "The bodies of control flow stay in float: 1 If."


def test_a_local_function_is_inlined() -> None:
    proto = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        net (float[N] x) => (float[N] y) { a = local.twice(x) \n y = local.twice(a) }
        <domain: "local", opset_import: ["" : 17]>
        twice (v) => (w) { w = Add(v, v) }""")
    result = check_equal(proto, {"x": f32([1, -2])})
    assert operators(result) == ["Add", "Add"]
    assert result.notes[-1] == "1 local functions were inlined."


@pytest.mark.parametrize(("opset", "dropout"), [(11, "Dropout<ratio = 0.5>(p)"), (12, "Dropout(p, ratio)")])
def test_an_old_opset_is_raised(opset: int, dropout: str) -> None:
    proto = at_opset(
        opset,
        f"""net (float[N,2,3] x) => (float[N,2,3] y) {{
        u = Unsqueeze<axes = [0]>(x) \n s = Squeeze<axes = [0]>(u) \n p = Softmax<axis = 1>(s)
        d = {dropout} \n m = ReduceSum<axes = [2], keepdims = 1>(d) \n y = Add(m, d) }}""",
        ratio=f32([0.5])[0],
    )
    proto.ir_version = 6
    result = check_equal(proto, image(2, 2, 3))
    assert result.model.opset == 13
    assert result.model.proto.ir_version == 7
    assert any(note.startswith(f"Converted from opset {opset} to 13") for note in result.notes)
    assert "Dropout" not in operators(result)


@pytest.mark.parametrize("opset", [13, 17, 21, 23])
def test_a_newer_opset_stays(opset: int) -> None:
    proto = at_opset(opset, "net (float[N] x) => (float[N] y) { y = Relu(x) }")
    assert normalise(load_model(proto)).model.opset == opset


def test_a_model_that_cannot_be_converted_is_one_sentence() -> None:
    proto = at_opset(11, "net (float[3] x) => (float[3] y) { y = Relu(x) }")
    values, indices = numpy_helper.from_array(f32([2]), "v"), numpy_helper.from_array(i64([1]), "i")
    sparse = helper.make_sparse_tensor(values, indices, [3])
    proto.graph.node[0].CopyFrom(helper.make_node("Constant", [], ["k"], sparse_value=sparse))
    proto.graph.node.append(helper.make_node("Add", ["x", "k"], ["y"]))
    with pytest.raises(InputError, match="uses opset 11, quantization needs 13, and ONNX cannot convert it"):
        normalise(load_model(proto))


def test_a_sparse_constant_stays() -> None:
    proto = model("net (float[3] x) => (float[3] y) { y = Add(x, k) }")
    values, indices = numpy_helper.from_array(f32([2]), "k"), numpy_helper.from_array(i64([1]), "i")
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3]))
    after = normalise(load_model(proto)).model.proto
    assert len(after.graph.sparse_initializer) == 1
    np.testing.assert_array_equal(run(after, {"x": f32([1, 1, 1])})[0], [1, 3, 1])


def test_an_output_without_a_shape_gets_the_one_that_follows() -> None:
    proto = model("net (float[N,3] x) => (float[N,3] y) { y = Relu(x) }")
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    assert Graph(check_equal(proto, image(2, 3)).model.proto).shape("y") == ("N", 3)


def test_other_domains_pass_through() -> None:
    proto = model("net (float[N] x) => (float[N] y) { a = acme.Magic(x, w) \n y = Relu(a) }", w=f32([1]))
    proto.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N"]))
    after = normalise(load_model(proto)).model.proto
    assert [n.op_type for n in after.graph.node] == ["Magic", "Relu"]
    assert Graph(after).dtype("a") == np.float32


def test_the_model_given_is_not_changed() -> None:
    proto = with_if()
    before = proto.SerializeToString()
    normalise(load_model(proto))
    assert proto.SerializeToString() == before


# Laws


def random_model(seed: int) -> onnx.ModelProto:
    """A chain of random blocks on [N, 4, 8, 8]: norms, identities, shared weights, shape arithmetic."""
    rng = np.random.default_rng(seed)
    stored: dict[str, NDArray[Any]] = {"shared": weights(4, 4, 3, 3), **norm(4, "s")}
    lines, last = [], "x"
    for i in range(8):
        out = f"t{i}"
        stored |= {f"k{i}": weights(4, 4, 1, 1), f"b{i}": weights(4), **norm(4, f"n{i}")}
        fresh = f"{out} = BatchNormalization({out}c, n{i}gamma, n{i}beta, n{i}mean, n{i}var)"
        blocks = [
            f"{out}c = Conv({last}, k{i}, b{i}) \n {fresh}",
            f"{out}c = Conv<pads = [1,1,1,1]>({last}, shared, b{i}) \n {fresh}",
            f"""{out}d = Conv<pads = [1,1,1,1]>({last}, shared) \n {out}c = Identity({out}d)
            {out} = BatchNormalization({out}c, sgamma, sbeta, smean, svar)""",
            f"{out}c = ConvTranspose({last}, k{i}) \n {fresh}",
            f"{out}c = Relu({last}) \n {fresh}",
            f"{out}i = Dropout({last}) \n {out}j = Identity({out}i) \n {out} = Add({out}j, {last})",
            f"{out}s = Shape({last}) \n {out}f = Flatten({last}) \n {out} = Reshape({out}f, {out}s)",
            f"{out}e = Exp(b{i}) \n {out}r = Reshape({out}e, {out}v) \n {out} = Mul({last}, {out}r)",
        ]
        stored[f"{out}v"] = i64([1, 4, 1, 1])
        lines.append(blocks[rng.integers(len(blocks))])
        last = out
    lines.append(f"y = {'Identity' if seed % 2 else 'Neg'}({last})")
    return model("net (float[N,4,8,8] x) => (float[N,4,8,8] y) { " + "\n".join(lines) + " }", **stored)


@pytest.mark.parametrize("seed", range(24))
def test_a_normalised_model_computes_the_same(seed: int) -> None:
    proto = random_model(seed)
    result = check_equal(proto, image(2, 4, 8, 8))
    nodes = result.model.proto.graph.node
    assert all(node.name for node in nodes)
    assert len({node.name for node in nodes}) == len(nodes)
    after = set(Graph(result.model.proto).tensors())
    stored = {t.name for t in result.model.proto.graph.initializer}
    assert set(result.aliases.values()) <= after | stored
    assert after.isdisjoint(result.gone)
    told = {*after, *stored, *result.gone, *result.aliases, *result.names.values()}
    assert set(Graph(proto).float_activations()) - told <= {f"t{i}e" for i in range(8)}  # constants


# The real model


@pytest.mark.reference
def test_efficientnet_keeps_exactly_the_activations_that_tensorrt_calibrated(reference: Path) -> None:
    result = normalise(load_model(reference / "models" / "efficientnet_lite0.onnx"))
    cache = (reference / "golden" / "trt-8.6" / "efficientnet_lite0.entropy2.cache").read_text().splitlines()[1:]
    calibrated = [line.rsplit(": ", 1)[0] for line in cache if not line.startswith("(Unnamed Layer*")]
    assert list(Graph(result.model.proto).float_activations()) == calibrated
    assert len(calibrated) == 112


@pytest.mark.reference
def test_efficientnet_is_left_with_its_own_operators(reference: Path) -> None:
    model = load_model(reference / "models" / "efficientnet_lite0.onnx")
    result = check_equal(model.proto, {"input": image(1, 3, 224, 224)["x"]})
    left = Counter(operators(result))
    assert left == {
        "Conv": 49, "Clip": 33, "Pad": 17, "Add": 9, "GlobalAveragePool": 1, "Gemm": 1,
        "Reshape": 1, "Shape": 1, "Gather": 1, "Unsqueeze": 1, "Concat": 1}  # fmt: skip
    graph = Graph(result.model.proto)
    assert all(graph.is_constant(n.input[1]) for n in graph.nodes if n.op_type == "Pad")
    assert all(attribute(n, "mode", b"constant") == b"constant" for n in graph.nodes if n.op_type == "Pad")
