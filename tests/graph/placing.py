"""What the tests of placement share."""

from __future__ import annotations

import onnx

from quantlab.graph.placement import Head, Placement, Target, place
from quantlab.graph.view import Graph

TENSORRT = Target.parse("tensorrt")
ORT = Target.parse("ort")
SAME = "<pads = [1, 1, 1, 1]>"


def placed(proto: onnx.ModelProto, target: Target = TENSORRT, head: Head = "int8") -> Placement:
    return place(Graph(proto), target, head=head)


def uses(placement: Placement) -> dict[str, list[str]]:
    """Return {tensor: ["node:input", …]}."""
    return {t: [f"{n}:{i}" for n, i in s.uses] for t, s in placement.activations.items()}


def shares(placement: Placement) -> dict[str, str]:
    return {t: s.shares for t, s in placement.activations.items() if s.shares}


def residual(first: str, second: str, add: str = "Add(c, d)") -> str:
    return (
        f"g (float[N,4,8,8] x) => (float[N,4,8,8] y)"
        f"{{ {first} \n {second} \n s = {add} \n r = Relu(s) \n y = Conv{SAME}(r, z) }}"
    )


CUBE = (4, 4, 3, 3)
