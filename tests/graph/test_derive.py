from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from quantlab.graph.derive import Clip, Derivation, Pad, Pooled, Same, derivations
from quantlab.graph.model import load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.probe import expose
from quantlab.graph.view import Graph
from tests.graph.equal_models import at_opset, f32, i64, image, model, run, weights


def derived(values: NDArray[Any], rule: Same | Pad | Clip) -> NDArray[Any]:
    """What a rule says about a tensor, as its sorted values."""
    match rule:
        case Same():
            return np.sort(values, axis=None)
        case Clip(low, high):
            return np.sort(np.clip(values, low, high), axis=None)
        case Pad():
            added = np.full(rule.added(values.size), rule.value, values.dtype)
            return np.sort(np.append(values, added))


def test_every_derived_tensor_has_the_values_that_its_rule_says() -> None:
    proto = at_opset(18, """net (float[N,4,6,6] x) => (float[N,p,q] y) {
        c = Conv(x, k) \n r = Relu(c) \n six = Clip(r, , top) \n cut = Clip(c, low, top)
        p = Pad(six, pads) \n ones = Pad(p, edge, one, axes) \n t = Transpose(ones)
        f = Flatten(x) \n u = Unsqueeze(f, zero) \n s = Squeeze(u, zero) \n back = Reshape(s, shape)
        deep = SpaceToDepth<blocksize = 2>(back) \n wide = DepthToSpace<blocksize = 2>(deep)
        i = Identity(wide) \n n = Pad(i, nothing) \n y = ReduceMax(n, axes) }""",
        k=weights(3, 4, 3, 3), top=f32([0.2])[0], low=f32([-0.1]), pads=i64([0, 0, 1, 1, 0, 0, 1, 2]),
        edge=i64([0, 3, 1, 0]), one=f32([1.0])[0], axes=i64([-1, 1]), zero=i64([0]),
        shape=i64([-1, 4, 6, 6]), nothing=i64([0] * 8))  # fmt: skip
    found = derivations(Graph(proto))
    assert list(found) == ["r", "six", "cut", "p", "ones", "t", "f", "u", "s", "back", "deep", "wide", "i", "n"]
    names = (*found, *(d.source for d in found.values()))
    probed = expose(proto, names, keep_outputs=False)
    values = dict(zip(dict.fromkeys(names), run(probed, image(5, 4, 6, 6)), strict=True))
    for tensor, derivation in found.items():
        assert not isinstance(derivation.rule, Pooled)
        expected = derived(values[derivation.source], derivation.rule)
        np.testing.assert_array_equal(np.sort(values[tensor], axis=None), expected)


def rule_of(body: str, shape: str = "N,4,6,6", **constants: NDArray[Any]) -> object:
    proto = model(f"net (float[{shape}] x) => (float[a,b,c,d] y) {{ {body} }}", **constants)
    found = derivations(Graph(proto)).get("y")
    return found and found.rule


PADS = i64([0, 0, 1, 1, 0, 0, 1, 1])


def test_relu_and_clip_give_their_bounds() -> None:
    assert rule_of("y = Relu(x)") == Clip(0.0, math.inf)
    assert rule_of("y = Clip(x)") == Clip(-math.inf, math.inf)
    assert rule_of("y = Clip(x, a, b)", a=f32([0])[0], b=f32([6])[0]) == Clip(0.0, 6.0)


@pytest.mark.parametrize(("a", "b"), [([1.0], [0.0]), ([math.nan], [1.0]), ([0.0], [1.0, 2.0])])
def test_a_clip_with_bounds_that_make_no_interval_is_not_derived(a: list[float], b: list[float]) -> None:
    assert rule_of("y = Clip(x, a, b)", a=f32(a), b=f32(b)) is None


def test_a_clip_whose_bound_depends_on_the_data_is_not_derived() -> None:
    assert rule_of("a = ReduceMin<keepdims = 0>(x) \n y = Clip(x, a)") is None


def test_a_pad_gives_its_amounts_value_and_exact_ratio() -> None:
    assert rule_of("y = Pad(x, pads)", pads=PADS) == Pad((0, 0, 1, 1, 0, 0, 1, 1), 0.0, Fraction(64, 36))
    assert rule_of("y = Pad(x, pads, v)", pads=PADS, v=f32([2])[0]) == Pad(
        (0, 0, 1, 1, 0, 0, 1, 1), 2.0, Fraction(16, 9)
    )
    assert rule_of("y = Pad(x, pads)", "N,4,6,w", pads=i64([0, 0, 1, 0, 0, 0, 1, 0])) == Pad(
        (0, 0, 1, 0, 0, 0, 1, 0), 0.0, Fraction(4, 3)
    )


@pytest.mark.parametrize(
    ("body", "shape", "pads"),
    [
        ("y = Pad<mode = 'reflect'>(x, pads)", "N,4,6,6", PADS),
        ("y = Pad<mode = 'edge'>(x, pads)", "N,4,6,6", PADS),
        ("y = Pad(x, pads)", "N,4,6,6", -PADS),  # cuts
        ("y = Pad(x, pads)", "N,4,h,6", PADS),  # a padded axis of open size
        ("y = Pad(x, pads, v)", "N,4,6,6", PADS),  # minus infinity
        ("s = Shape(x) \n p = Concat<axis = 0>(s, s) \n y = Pad(x, p)", "N,4,6,6", PADS),
    ],
)
def test_a_pad_that_chooses_cuts_or_depends_on_the_data_is_not_derived(
    body: str, shape: str, pads: NDArray[Any]
) -> None:
    assert rule_of(body.replace("'", '"'), shape, pads=pads, v=f32([-math.inf])[0]) is None


def test_a_pad_counts_only_whole_tensors() -> None:
    pad = Pad((1, 0), 0.0, Fraction(4, 3))
    assert (pad.added(0), pad.added(300)) == (0, 100)
    with pytest.raises(ValueError, match="4 elements do not fill whole tensors"):
        pad.added(4)


@pytest.mark.parametrize(
    "body",
    [
        "y = Concat<axis = 1>(x, x)",
        "y = Slice(x, one, two)",
        "y = AveragePool<kernel_shape = [2, 2]>(x)",
        "y, z = Split<axis = 1, num_outputs = 2>(x)",
        "y = LeakyRelu(x)",
        "y = acme.Relu(x)",
        "y = Expand(x, four)",
    ],
)
def test_operators_that_choose_mix_or_repeat_values_are_not_derived(body: str) -> None:
    proto = model(f"net (float[2,4,6,6] x) => (float[a,b,c,d] y) {{ {body} }}",
                  one=i64([1]), two=i64([2]), four=i64([2, 4, 6, 6]))  # fmt: skip
    assert "y" not in derivations(Graph(proto))


def test_a_pooled_tensor_has_a_rule_of_its_own() -> None:
    assert rule_of("y = MaxPool<kernel_shape = [2, 2]>(x)") == Pooled()


def test_only_float_activations_are_derived_and_only_from_activations() -> None:
    proto = model("""net (float[N,2] x) => (float[N,2] y) {
        s = Shape(x) \n t = Reshape(s, open) \n w2 = Reshape(w, pair) \n c = Gather(s, first)
        u = Cast<to = 1>(t) \n v = Mul(x, w2) \n y = Identity(v) }""",
        open=i64([-1]), w=f32([1, 2]), pair=i64([1, 2]), first=i64([0]))  # fmt: skip
    assert derivations(Graph(proto)) == {"y": Derivation("v", Same())}


@pytest.mark.reference
def test_efficientnet_needs_sixty_one_of_its_tensors_counted(reference: Path) -> None:
    graph = Graph(normalise(load_model(reference / "models" / "efficientnet_lite0.onnx")).model.proto)
    found = derivations(graph)
    kinds = [type(d.rule).__name__ for d in found.values()]
    assert {kind: kinds.count(kind) for kind in kinds} == {"Pad": 17, "Clip": 33, "Same": 1}
    assert len(graph.float_activations()) - len(found) == 61
    order = {name: i for i, name in enumerate(graph.tensors())}
    assert all(order[d.source] < order[name] for name, d in found.items())
