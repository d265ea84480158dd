"""Operators that stay float get the weights and biases back that they had before these were prepared for INT8."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from quantlab.graph.biases import biases, with_biases, with_weights
from quantlab.graph.model import Model
from quantlab.graph.normalise import normalise
from quantlab.graph.patterns import WEIGHTED, weight_index
from quantlab.graph.view import Graph, operator
from quantlab.numerics.arrays import F32, AnyArray
from quantlab.tuning.candidate import Candidate


def restored(candidate: Candidate, names: Collection[str]) -> Candidate:
    """Return the candidate in which these operators have the weights and biases of its exact model.

    A weight that was rounded would keep its error in float too, and a bias what was corrected of it. A weight that
    another operator reads as well stays as it is, as does all where nothing was prepared.

    Parameters
    ----------
    names
        Weighted operators of the normalised model; others do nothing.
    """
    if candidate.exact is None or not names:
        return candidate
    exact, model = normalise(candidate.exact).model, normalise(candidate.model).model
    graph, values = Graph(exact.proto), dict[str, F32]()
    for name, stored in _own_weights(Graph(model.proto), names).items():
        value = graph.constant(name)
        if value is not None and value.shape == stored.shape and not np.array_equal(value, stored):
            values[name] = value
    before, after = biases(exact).found, biases(model).found
    shifted = {
        name: before[name].value
        for name in names
        if name in before and name in after and not np.array_equal(before[name].value, after[name].value)
    }
    if not values and not shifted:
        return candidate
    changed = with_biases(with_weights(model, values), shifted)
    return candidate.corrected(Model(changed.proto, candidate.model.path, changed.digest), candidate.table)


def _own_weights(graph: Graph, names: Collection[str]) -> dict[str, AnyArray]:
    """Return the constant weights that these operators alone read, by name."""
    found = {}
    for node in graph.nodes:
        if operator(node) in WEIGHTED and node.name in names and (index := weight_index(graph, node)) is not None:
            weight = node.input[index]
            stored = graph.constant(weight)
            if stored is not None and all(use.node.name in names for use in graph.consumers(weight)):
                found[weight] = stored
    return found
