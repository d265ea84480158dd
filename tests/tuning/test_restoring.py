"""Operators in float get back what was prepared for INT8, and only they."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from quantlab.builder import QuantizeOptions
from quantlab.graph.model import load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.view import Graph
from quantlab.numerics.arrays import AnyArray
from quantlab.tuning.adaptive_rounding import AdaptiveRounding
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.float_trials import EQUAL_DB, FloatTrials, decibels
from quantlab.tuning.restoring import restored
from quantlab.tuning.scoring import Scorer
from quantlab.tuning.sensitivity import measure_sensitivity
from quantlab.tuning.walk import WalkOptions, walk
from tests.graph.nets import net
from tests.tuning.nets import Rows, matmul_net, smooth, table_of
from tests.tuning.weak_place import chain, inputs, subject


def corrected() -> tuple[Scorer, Candidate]:
    """Return the chain after rounding its weights and correcting its biases."""
    scorer, plain = subject(chain(), inputs())
    settings = WalkOptions(correction=AdaptiveRounding(), threads=1)
    found = walk(plain.model, plain.table, plain.options, Rows(inputs()), settings=settings)
    return scorer, plain.corrected(found.model, found.table)


def constants(candidate: Candidate, node: str) -> list[AnyArray]:
    graph = Graph(normalise(candidate.model).model.proto)
    found = next(one for one in graph.nodes if one.name == node)
    return [value for name in found.input if (value := graph.constant(name)) is not None]


def test_weight_and_bias_are_those_of_the_exact_model() -> None:
    _, candidate = corrected()
    assert candidate.exact is not None
    plain = replace(candidate, model=candidate.exact)
    back = restored(candidate, ("Conv4",))
    weight, bias = constants(back, "Conv4")
    assert np.array_equal(weight, constants(plain, "Conv4")[0])
    assert not bias.any()  # it had none
    for other in ("Conv0", "Conv2", "Conv6"):
        pairs = zip(constants(back, other), constants(candidate, other), strict=True)
        assert all(np.array_equal(one, two) for one, two in pairs)
    assert not np.array_equal(constants(candidate, "Conv4")[0], weight)


def test_with_all_in_float_the_network_is_the_exact_one() -> None:
    scorer, candidate = corrected()
    trials = FloatTrials(scorer, candidate)
    most = trials.operators[1:]
    plain = FloatTrials(scorer, replace(candidate, exact=None))
    assert decibels(trials.trial(most).score) > decibels(plain.trial(most).score)
    assert decibels(trials.trial(trials.operators).score) == EQUAL_DB


def test_an_operator_alone_is_told_apart_from_what_was_prepared_elsewhere() -> None:
    scorer, candidate = corrected()
    rows = measure_sensitivity(scorer, candidate).rows
    for row in rows:
        rest = tuple(other.name for other in rows if other is not row)
        alone = restored(candidate, rest).with_floats(rest)
        assert row.alone_db == decibels(scorer.score(alone))


def test_the_bias_behind_a_matrix_product_goes_back_too() -> None:
    model = load_model(matmul_net())
    rows = {"x": smooth(6, channels=1, size=12)[:, 0]}
    candidate = Candidate(model, table_of(matmul_net(), rows), QuantizeOptions(target="tensorrt@8.6"))
    found = walk(model, candidate.table, candidate.options, Rows(rows), settings=WalkOptions(threads=1))
    changed = candidate.corrected(found.model, found.table)
    before = Graph(normalise(model).model.proto).constant("b1")
    assert before is not None
    assert np.array_equal(constants(restored(changed, ("MatMul0",)), "Add1")[0], before)


def test_what_was_never_prepared_stays_the_same_object() -> None:
    _, plain = subject(chain(), inputs())
    assert restored(plain, ("Conv0",)) is plain
    _, candidate = corrected()
    assert restored(candidate, ()) is candidate
    assert restored(candidate, ("no such operator",)) is candidate


def test_a_weight_that_an_operator_in_int8_shares_is_left() -> None:
    text = "g (float[N,3,4,4] x) => (float[N,3,4,4] y) { a = Conv(x, w) \n r = Relu(a) \n b = Conv(r, w) \n y = Conv(b, v) }"
    proto = net(text, w=(3, 3, 1, 1), v=(3, 3, 1, 1))
    _, plain = subject(proto, inputs(size=4))
    changed = net(text, w=(3, 3, 1, 1), v=(3, 3, 1, 1))
    changed.graph.initializer[0].CopyFrom(_doubled(changed.graph.initializer[0]))
    candidate = plain.corrected(load_model(changed), plain.table)
    assert restored(candidate, ("Conv0",)) is candidate
    assert np.array_equal(constants(restored(candidate, ("Conv0", "Conv2")), "Conv0")[0], constants(plain, "Conv0")[0])


def _doubled(tensor: onnx.TensorProto) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(2 * onnx.numpy_helper.to_array(tensor), tensor.name)
