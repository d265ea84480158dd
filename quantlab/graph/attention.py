"""The matrix products of attention that average values by probabilities."""

from __future__ import annotations

from quantlab.graph.patterns import WEIGHTED, moves
from quantlab.graph.view import Graph, operator

_THROUGH = frozenset({"Cast", "Dropout", "Where"})
"""What stands between a softmax and its product beside moves: another type, training's leftovers, a guard against NaN."""


def averaging_products(graph: Graph) -> tuple[str, ...]:
    """Return the names of the weighted operators that multiply a Softmax's result by an activation, in graph order.

    One scale serves all rows of probabilities, and 1 is among them: with steps of 1/127 what attends to more than 127
    tokens alike rounds to 0 or to twice its share. Queries times keys have no such values.
    """
    probabilities: set[str] = set()
    found = []
    for node in graph.nodes:
        if operator(node) == "Softmax":
            probabilities.update(node.output)
        elif probabilities.isdisjoint(node.input):
            continue
        elif operator(node) in _THROUGH or moves(graph, node):
            probabilities.update(name for name in node.output if name)
        elif operator(node) in WEIGHTED and not any(graph.is_constant(name) for name in node.input[:2]):
            found.append(node.name)
    return tuple(found)
