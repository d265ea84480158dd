"""Attention's averages are found behind their softmax, and nothing else is."""

from __future__ import annotations

import pytest

from quantlab.graph.attention import averaging_products
from quantlab.graph.model import load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.view import Graph
from tests.graph.nets import net

BEFORE = "k = Transpose<perm = [0, 2, 1]>(x) \n s = MatMul(x, k) \n p = Softmax(s) \n"


def found(body: str) -> tuple[str, ...]:
    proto = net(f"g (float[N,T,4] x) => (float[N,T,4] y) {{ {body} }}", w=(4, 4))
    return averaging_products(Graph(normalise(load_model(proto)).model.proto))


@pytest.mark.parametrize(
    ("body", "products"),
    [
        (f"{BEFORE} y = MatMul(p, x)", ("MatMul3",)),
        (f"{BEFORE} t = Transpose<perm = [0, 2, 1]>(p) \n y = MatMul(t, x)", ("MatMul4",)),
        (f"{BEFORE} b = IsNaN(p) \n q = Where(b, s, p) \n y = MatMul(q, x)", ("MatMul5",)),
        (f"{BEFORE} a = MatMul(p, x) \n y = MatMul(a, w)", ("MatMul3",)),
        (f"{BEFORE} a = Mul(s, s) \n y = MatMul(a, x)", ()),
        ("p = Softmax(x) \n y = MatMul(p, w)", ()),
        ("y = MatMul(x, w)", ()),
    ],
    ids=["plain", "moved", "guarded", "not behind the product", "scores", "a constant matrix", "no softmax"],
)
def test_products_of_probabilities_are_found(body: str, products: tuple[str, ...]) -> None:
    assert found(body) == products
