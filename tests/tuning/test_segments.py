from __future__ import annotations

import numpy as np
import pytest

from quantlab.engines.ort_session import OrtOptions
from quantlab.graph.view import Graph
from quantlab.numerics.arrays import AnyArray
from quantlab.tuning.segments import Piece, Side, peak, pieces, tensor_sizes
from tests.graph.nets import residual_net
from tests.graph.quantizing import run
from tests.tuning.nets import smooth

OPTIONS = OrtOptions(optimize=False, threads=1)
WANTED = [("c1",), ("c2",), ("c3", "a1"), ("c4",), ("c5",), ("y",)]
BATCHES = [{"x": smooth(3)}, {"x": smooth(2, seed=1)}]
SIZES = tensor_sizes(Graph(residual_net()), BATCHES[0], 3, OPTIONS)


def cut(largest: int) -> tuple[Piece, ...]:
    return pieces(Graph(residual_net()), WANTED, SIZES.__getitem__, largest)


def every(largest: int) -> list[list[dict[str, AnyArray]]]:
    side = Side(Graph(residual_net()), cut(largest), BATCHES, OPTIONS)
    return [[{t: np.array(v) for t, v in found.items()} for found in side.advance()] for _ in WANTED]


@pytest.mark.parametrize("largest", [0, 2000, 10**9])
def test_the_pieces_give_what_the_whole_network_gives(largest: int) -> None:
    found = every(largest)
    names = [name for names in WANTED for name in names]
    proto = residual_net()
    have = {output.name for output in proto.graph.output}
    proto.graph.output.extend(type(proto.graph.output[0])(name=name) for name in names if name not in have)
    order = [output.name for output in proto.graph.output]
    for b, batch in enumerate(BATCHES):
        whole = dict(zip(order, run(proto, dict(batch)), strict=True))
        for i, wanted in enumerate(WANTED):
            assert set(found[i][b]) == set(wanted)
            for name in wanted:
                assert np.array_equal(found[i][b][name], whole[name])


def test_with_room_no_node_runs_twice_but_the_cheap_ones() -> None:
    graph = Graph(residual_net())
    heavy = [node.name for piece in cut(10**9) for node in piece.nodes if node.op_type in {"Conv", "Gemm", "Add"}]
    assert sorted(heavy) == sorted(n.name for n in graph.nodes if n.op_type in {"Conv", "Gemm", "Add"})


def test_without_room_only_the_input_is_kept() -> None:
    graph = Graph(residual_net())
    assert all(not piece.keeps for piece in cut(0))
    assert peak(graph, cut(0), SIZES.__getitem__) == SIZES["x"]
    assert peak(graph, cut(10**9), SIZES.__getitem__) > SIZES["x"]


def test_what_no_later_piece_needs_is_dropped() -> None:
    alive = {"x"}
    for piece in cut(10**9):
        assert set(piece.reads) <= alive
        alive = (alive | set(piece.keeps)) - set(piece.drops)
    assert not alive


def test_a_changed_constant_acts_in_the_pieces_to_come() -> None:
    side = Side(Graph(residual_net()), cut(10**9), BATCHES, OPTIONS)
    before = [np.array(found["c1"]) for found in side.advance()]
    weight = Graph(residual_net()).constant("w2")
    assert weight is not None
    side.change({"w2": np.zeros_like(weight)})
    bias = Graph(residual_net()).constant("b2")
    assert bias is not None
    for found, first in zip(side.advance(), before, strict=True):
        assert np.array_equal(found["c2"], np.broadcast_to(bias[:, None, None], found["c2"].shape))
        assert first.any()
