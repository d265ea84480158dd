"""The multiply-accumulates of each node, and the share of them on integers."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.calibration.weight_methods import MaxAbs
from quantlab.engines.dynamic_quantization import quantize_dynamic
from quantlab.errors import UsageError
from quantlab.graph.model import Model, load_model
from quantlab.graph.multiply_accumulates import MultiplyAccumulates, int8_coverage, integer_nodes, multiply_accumulates
from quantlab.graph.normalise import normalise
from quantlab.graph.placement import Head, place
from quantlab.graph.view import Graph
from quantlab.graph.weight_only import store_weights
from tests.graph.nets import net, residual_net
from tests.graph.quantizing import FEED, TENSORRT, quantized, ranges, table
from tests.numerics.tensors import law


def counts(text: str, shapes: dict[str, tuple[int, ...]] | None = None, **weights: tuple[int, ...]) -> dict[str, int]:
    got = multiply_accumulates(load_model(net(text, **weights)), shapes)
    assert not got.unknown
    return dict(got.by_node)


def slow_convolution(size: int, kernel: int, stride: int, channels: int, filters: int, groups: int) -> int:
    """Count the products of a convolution without padding, one by one."""
    starts = range(0, size - kernel + 1, stride)
    return sum(
        1 for _ in product(range(filters), starts, starts, range(channels // groups), range(kernel), range(kernel))
    )


@law
@given(st.integers(3, 6), st.integers(1, 3), st.integers(1, 2), st.sampled_from([(4, 6, 1), (4, 4, 4), (4, 8, 2)]))
def test_a_convolution_counts_its_products(size: int, kernel: int, stride: int, wide: tuple[int, int, int]) -> None:
    channels, filters, groups = wide
    text = (
        f"g (float[N,{channels},{size},{size}] x) => (float y) "
        f"{{ y = Conv<group = {groups}, strides = [{stride}, {stride}]>(x, w) }}"
    )
    found = counts(text, w=(filters, channels // groups, kernel, kernel))
    assert found == {"Conv0": slow_convolution(size, kernel, stride, channels, filters, groups)}


def test_a_transposed_convolution_counts_what_each_input_value_meets() -> None:
    text = "g (float[N,4,5,5] x) => (float y) { y = ConvTranspose<strides = [2, 2]>(x, w) }"
    assert counts(text, w=(4, 3, 2, 2)) == {"ConvTranspose0": 4 * 25 * 3 * 4}


@pytest.mark.parametrize(
    ("text", "weight", "expected"),
    [
        ("(float[N,7] x) => (float[N,3] y) { y = MatMul(x, w) }", (7, 3), 21),
        ("(float[N,5,7] x) => (float[N,5,3] y) { y = MatMul(x, w) }", (7, 3), 105),
        ("(float[N,7] x) => (float[N,3] y) { y = Gemm<transB = 1>(x, w) }", (3, 7), 21),
        ("(float[4,6] x) => (float y) { y = Gemm<transA = 1>(x, w) }", (4, 5), 120),
        ("(float[N,7] x) => (float y) { y = MatMul(x, w) }", (7,), 7),
    ],
)
def test_a_matrix_product_counts_rows_times_columns_times_depth(
    text: str, weight: tuple[int, ...], expected: int
) -> None:
    assert list(counts(f"g {text}", w=weight).values()) == [expected]


def test_attention_counts_both_its_products() -> None:
    text = "g (float[batch,length,8] x) => (float y) { t = Transpose<perm = [0,2,1]>(x) \n a = MatMul(x, t) \n y = MatMul(a, x) }"
    assert counts(text, {"x": (9, 5, 8)}) == {"MatMul1": 200, "MatMul2": 200}


def test_what_does_not_grow_with_the_batch_is_counted_once() -> None:
    text = "g (float[N,8] x, float[8,8] u) => (float[N,8] y) { v = MatMul(u, w) \n y = MatMul(x, v) }"
    assert counts(text, w=(8, 8)) == {"MatMul0": 512, "MatMul1": 64}


def test_a_fixed_batch_is_counted_as_it_is() -> None:
    assert counts("g (float[4,7] x) => (float[4,3] y) { y = MatMul(x, w) }", w=(7, 3)) == {"MatMul0": 84}


def test_an_open_axis_needs_a_shape_and_the_node_says_so() -> None:
    model = load_model(net("g (float[N,L,8] x) => (float y) { y = MatMul(x, w) }", w=(8, 2)))
    got = multiply_accumulates(model)
    assert (dict(got.by_node), got.total) == ({}, 0)
    assert "'y' is not known" in got.unknown["MatMul0"]
    assert "give the shapes of the inputs" in got.unknown["MatMul0"]
    assert multiply_accumulates(model, {"x": (1, 3, 8)}).total == 48


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [({"z": (1,)}, "no input «z»"), ({"x": (1, 8)}, "has 3 axes, not the 2"), ({"x": (1, 3, 9)}, "is 8, not 9")],
)
def test_shapes_that_do_not_fit_are_refused(shapes: dict[str, tuple[int, ...]], sentence: str) -> None:
    model = load_model(net("g (float[N,L,8] x) => (float y) { y = MatMul(x, w) }", w=(8, 2)))
    with pytest.raises(UsageError, match=sentence):
        multiply_accumulates(model, shapes)


@pytest.mark.parametrize(("head", "floats"), [("float", {"Gemm16"}), ("int8", set())])
def test_coverage_of_a_placement_is_that_of_the_model_built_from_it(head: Head, floats: set[str]) -> None:
    proto = residual_net()
    graph, found = Graph(proto), multiply_accumulates(load_model(proto))
    nodes = integer_nodes(place(graph, TENSORRT, head=head), graph)
    assert set(found.by_node) - nodes == floats
    built = load_model(quantized(proto, table(ranges(proto, FEED)), TENSORRT, head).proto)
    assert integer_nodes(built) == nodes
    assert np.isclose(int8_coverage(found, nodes), 1 - sum(found.by_node[name] for name in floats) / found.total)


def test_weights_alone_make_no_integer_node() -> None:
    model = store_weights(load_model(residual_net()), method=MaxAbs()).model
    assert integer_nodes(model) == frozenset()


def test_integer_operators_count_like_float_ones() -> None:
    model = load_model(residual_net())
    dynamic = quantize_dynamic(model).model
    found = multiply_accumulates(dynamic)
    assert found.total == multiply_accumulates(normalise(model).model).total
    assert int8_coverage(found, integer_nodes(dynamic)) == 1


def test_a_model_without_products_has_no_coverage() -> None:
    model = load_model(net("g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }"))
    got = multiply_accumulates(model)
    assert got == MultiplyAccumulates({}, {})
    assert int8_coverage(got, ()) == 0.0


def test_a_placement_needs_its_graph() -> None:
    placement = place(Graph(residual_net()), TENSORRT)
    with pytest.raises(UsageError, match="Give the graph"):
        integer_nodes(placement)


@pytest.mark.reference
def test_efficientnet_lite0_has_385_million(reference: Path) -> None:
    model: Model = normalise(load_model(reference / "models" / "efficientnet_lite0.onnx")).model
    found = multiply_accumulates(model)
    assert (found.total, len(found.by_node)) == (385_187_552, 50)
    assert np.isclose(
        int8_coverage(found, integer_nodes(place(Graph(model.proto), TENSORRT), Graph(model.proto))), 0.99668
    )


def test_the_model_is_left_as_it_is() -> None:
    proto = residual_net()
    before = proto.SerializeToString()
    multiply_accumulates(load_model(proto), {"x": (2, 3, 16, 16)})
    assert proto.SerializeToString() == before
    onnx.checker.check_model(proto)
