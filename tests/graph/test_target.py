"""Targets, and the axes of weights that depend on them."""

from __future__ import annotations

import pytest

from quantlab.errors import UsageError
from quantlab.graph.placement import Target
from tests.graph.nets import net
from tests.graph.placing import placed

# targets


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("tensorrt@8.6", (8, 6)),
        ("tensorrt", (10, 3)),
        ("tensorrt@10.3.0", (10, 3)),
        ("tensorrt@11", (11, 0)),
        ("ort", None),
    ],
)
def test_a_target_is_read_from_text(text: str, version: tuple[int, int] | None) -> None:
    assert Target.parse(text).tensorrt == version


def test_a_target_prints_what_it_is_read_from() -> None:
    assert [str(Target.parse(t)) for t in ("tensorrt@8.6", "ort")] == ["tensorrt@8.6", "ort"]


@pytest.mark.parametrize("text", ["tensorrt@7.2", "trt", "tensorrt@", "ort@1", "tensorrt@x"])
def test_an_unknown_or_too_old_target_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="tensorrt@"):
        Target.parse(text)


# TensorRT: axes


@pytest.mark.parametrize(
    ("target", "groups", "axis"),
    [("tensorrt@8.6", 1, 0), ("tensorrt@10.1", 2, 0), ("tensorrt@10.2", 1, 1), ("tensorrt@11.0", 2, None)],
)
def test_the_axis_of_transposed_convolutions_follows_the_version(target: str, groups: int, axis: int | None) -> None:
    text = f"g (float[N,4,8,8] x) => (float[N,6,9,9] y) {{ y = ConvTranspose<group = {groups}>(x, w) }}"
    got = placed(net(text, w=(4, 6 // groups, 2, 2)), Target.parse(target))
    assert got.weights["w"][0].axis == axis


@pytest.mark.parametrize(
    ("call", "shape", "axis"),
    [
        ("Gemm(x, w)", (8, 4), 1),
        ("Gemm<transB = 1>(x, w)", (4, 8), 0),
        ("MatMul(x, w)", (8, 4), 1),
        ("MatMul(x, w)", (1, 8, 4), 2),
        ("MatMul(x, w)", (8,), None),
        ("MatMul(w, x)", (8, 3), None),
    ],
)
def test_the_axis_of_a_matrix_is_its_output_channels(call: str, shape: tuple[int, ...], axis: int | None) -> None:
    got = placed(net(f"g (float[3,8] x) => (float[*] y) {{ y = {call} }}".replace("float[*]", "float"), w=shape))
    assert got.weights["w"][0].axis == axis


def test_a_shared_weight_is_one_site_if_its_readers_agree_on_the_axis() -> None:
    text = "g (float[N,8] x) => (float[N,8] y) { a = MatMul(x, w) \n y = MatMul(a, w) }"
    assert [s.uses for s in placed(net(text, w=(8, 8))).weights["w"]] == [(("MatMul0", 1), ("MatMul1", 1))]
    text = "g (float[N,8] x) => (float[N,8] y) { a = MatMul(x, w) \n y = Gemm<transB = 1>(a, w) }"
    got = placed(net(text, w=(8, 8))).weights["w"]
    assert [(s.uses, s.axis) for s in got] == [((("MatMul0", 1),), 1), ((("Gemm1", 1),), 0)]
