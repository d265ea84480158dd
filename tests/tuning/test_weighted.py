from __future__ import annotations

import numpy as np
import onnx
import pytest

from quantlab.graph.view import Graph
from quantlab.numerics.arrays import AnyArray
from quantlab.tuning.weighted import Weighted, patch_sums, sampled_rows
from tests.graph.nets import net
from tests.tuning.nets import outputs, smooth

CONVOLUTIONS = {
    "strides = [2, 1], pads = [1, 0, 2, 1]": (6, 4, 3, 2),
    "dilations = [2, 3], pads = [2, 2, 2, 2]": (6, 4, 3, 3),
    "group = 2": (6, 2, 3, 3),
    "group = 4, pads = [1, 1, 1, 1]": (8, 1, 3, 3),
    'auto_pad = "SAME_UPPER", strides = [2, 2]': (6, 4, 3, 4),
    'auto_pad = "SAME_LOWER", strides = [2, 2]': (6, 4, 4, 2),
    'auto_pad = "VALID"': (6, 4, 1, 1),
}


def weighted(model: onnx.ModelProto) -> Weighted:
    found = Weighted.of(Graph(model), Graph(model).nodes[0])
    assert isinstance(found, Weighted), found
    return found


def check(model: onnx.ModelProto, x: AnyArray, count: int) -> int:
    """Compare sampled rows times the matrix with the sampled output; return how many rows there are."""
    op, weight = weighted(model), Graph(model).constant("w")
    assert weight is not None
    y = outputs(model, {"x": x})
    rows, values = sampled_rows(op, x, y, count, 0)
    matrix = op.matrix(weight)
    assert np.array_equal(op.tensor(matrix), weight)
    if rows.shape[1] == y.size // op.groups // op.outputs:  # all of them
        sums, each = patch_sums(op, x.sum(axis=0, dtype=np.float64))
        assert each * len(x) == rows.shape[1]
        np.testing.assert_allclose(sums, rows.sum(axis=1), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(rows @ matrix.transpose(0, 2, 1), values, atol=1e-4)
    return rows.shape[1]


@pytest.mark.parametrize("attributes", CONVOLUTIONS)
def test_rows_of_patches_times_the_matrix_are_the_output(attributes: str) -> None:
    text = f"g (float[N,4,9,8] x) => (float[N,C,H,W] y) {{ y = Conv<{attributes}>(x, w) }}"
    x = smooth(3, channels=4, size=9)[:, :, :, :8].copy()
    assert check(net(text, w=CONVOLUTIONS[attributes]), x, 10**6) > 50
    assert check(net(text, w=CONVOLUTIONS[attributes]), x, 17) == 17


def test_a_convolution_along_one_axis_has_rows_too() -> None:
    text = "g (float[N,4,9] x) => (float[N,6,L] y) { y = Conv<pads = [1, 2], strides = [2]>(x, w) }"
    assert check(net(text, w=(6, 4, 3)), smooth(3, channels=4, size=9)[:, :, 0].copy(), 10**6) == 15


@pytest.mark.parametrize(("node", "shape"), [("MatMul(x, w)", (8, 5)), ("Gemm<transB = 1>(x, w)", (5, 8))])
def test_rows_of_a_matrix_product_are_those_of_its_operands(node: str, shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    assert check(net(f"g (float[N,8] x) => (float[N,5] y) {{ y = {node} }}", w=shape), x, 7) == 7


def test_rows_of_sequences_are_all_their_elements() -> None:
    x = np.random.default_rng(0).normal(size=(4, 3, 8)).astype(np.float32)
    model = net("g (float[N,T,8] x) => (float[N,T,5] y) { y = MatMul(x, w) }", w=(8, 5))
    assert check(model, x, 10**6) == 12


def test_the_rows_taken_depend_on_shapes_and_seed_alone() -> None:
    model = net("g (float[N,4,9,9] x) => (float[N,6,7,7] y) { y = Conv(x, w) }", w=(6, 4, 3, 3))
    position = np.broadcast_to(np.arange(49, dtype=np.float32).reshape(7, 7), (2, 6, 7, 7))
    x = smooth(2, channels=4, size=9)
    one, two = (sampled_rows(weighted(model), values, position, 20, 3)[1] for values in (x, -x))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, sampled_rows(weighted(model), x, position, 20, 4)[1])


@pytest.mark.parametrize(
    ("text", "shape", "reason"),
    [
        ("y = ConvTranspose(x, w)", (4, 6, 3, 3), "transposed"),
        ("y = MatMul(w, x)", (8, 9), "second operand"),
        ("a = Conv(x, w) \n y = Conv(a, w)", (4, 4, 3, 3), "shared"),
        ("y = MatMul(x, w)", (4, 9, 9), "no matrix"),
    ],
)
def test_what_has_no_rows_tells_why(text: str, shape: tuple[int, ...], reason: str) -> None:
    graph = Graph(net(f"g (float[N,4,9,9] x) => (float[N,a,b,c] y) {{ {text} }}", w=shape))
    found = Weighted.of(graph, graph.nodes[0])
    assert isinstance(found, str)
    assert reason in found


def test_a_gemm_with_factors_tells_why() -> None:
    graph = Graph(net("g (float[N,8] x) => (float[N,5] y) { y = Gemm<alpha = 2.0>(x, w) }", w=(8, 5)))
    assert "alpha" in str(Weighted.of(graph, graph.nodes[0]))
