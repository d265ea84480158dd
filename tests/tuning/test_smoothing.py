"""What the rung for transformers tries together: strength, method, and attention's averages in float."""

from __future__ import annotations

import numpy as np
import onnx

from quantlab import engines
from quantlab.builder import QuantizeOptions
from quantlab.calibration.methods.minmax import MinMax
from quantlab.collector.collect import collect
from quantlab.graph.model import load_model
from quantlab.numerics.arrays import AnyArray
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.journal import Journal
from quantlab.tuning.ladder import Ground, Ladder, Methods
from quantlab.tuning.rungs import smoothing
from quantlab.tuning.rungs.thresholds import METHODS
from quantlab.tuning.scoring import Scorer
from quantlab.tuning.target import Target
from tests.graph.nets import net_of
from tests.tuning.nets import Rows, token_net, tokens

AVERAGE = "averages"


def attention(tokens_: int = 200, *, peaked: bool = False) -> tuple[onnx.ModelProto, Rows]:
    """Return attention over many tokens, that all count alike or one of them alone, and sequences for it."""
    random = np.random.default_rng(5)
    text = (
        "g (float[N,T,12] x) => (float[N,T,12] y) { q = MatMul(x, wq) \n k = Transpose<perm = [0, 2, 1]>(x) \n"
        "s = MatMul(q, k) \n p = Softmax(s) \n a = MatMul(p, x) \n y0 = MatMul(a, wo) \n y = MatMul(y0, wh) }"
    )
    weights: dict[str, AnyArray] = {
        name: random.normal(size=(12, 12)).astype("f") / np.float32(12**0.5) for name in ("wq", "wo", "wh")
    }
    weights["wq"] = (np.eye(12) * (40 if peaked else 0.02)).astype("f")
    proto = net_of(text, **weights)
    next(node for node in proto.graph.node if node.output[0] == "a").name = AVERAGE
    return proto, Rows({"x": random.normal(size=(8, tokens_, 12)).astype("f")}, 4)


def ladder_of(proto: onnx.ModelProto, data: Rows, *keep: str) -> Ladder:
    """Return a ladder that has measured min-max."""
    loaded = load_model(proto)
    with engines.ort(loaded, expose="quantizable", threads=1) as engine:
        histograms = collect(engine, data)
    scorer = Scorer.begin(loaded, data, threads=1)
    ground = Ground(data, histograms, scorer, Target(None, min_sqnr_db=99.0), {"samples": 8, "memory": 1 << 26}, 1)
    options = QuantizeOptions(keep_float=keep)
    ladder = Ladder(
        ground,
        Candidate(loaded, Methods(MinMax()).table(histograms), options),
        Journal(None, {}, options),
        lambda _: None,
    )
    ladder.methods = Methods(MinMax())
    ladder.attempt("start", "min-max", "", lambda: ladder.best)
    return ladder


def labels(ladder: Ladder) -> list[str]:
    return [trial.label for trial in ladder.trials if trial.rung == smoothing.RUNG]


def test_averages_over_many_tokens_stay_float() -> None:
    ladder = ladder_of(*attention())
    before = ladder.score.mean_sqnr_db
    smoothing.climb(ladder)
    assert ladder.best.options.keep_float == (AVERAGE,)
    assert ladder.score.mean_sqnr_db > before + 1
    assert "1 averages of attention in float" in next(
        trial.change for trial in ladder.trials if trial.label == labels(ladder)[-1]
    )


def test_averages_that_lose_nothing_stay_int8() -> None:
    ladder = ladder_of(*attention(peaked=True))
    smoothing.climb(ladder)
    assert ladder.best.options.keep_float == ()
    assert any("averages in float" in label for label in labels(ladder))


def test_what_is_float_by_wish_is_kept_and_not_tried() -> None:
    ladder = ladder_of(*attention(), AVERAGE)
    smoothing.climb(ladder)
    assert ladder.best.options.keep_float == (AVERAGE,)
    assert not any("averages in float" in label for label in labels(ladder))


def test_the_strength_and_the_method_are_sought_together() -> None:
    ladder = ladder_of(token_net(), tokens(32))
    before, start = ladder.score.mean_sqnr_db, ladder.best.model
    smoothing.climb(ladder)
    said = labels(ladder)
    assert {"alpha 0.9, ranked", "alpha 0.8, ranked"} <= set(said)
    assert any("squared error" in label for label in said)
    assert ladder.score.mean_sqnr_db > before + 1
    feed = tokens(8).inputs
    with engines.ort(ladder.best.start, threads=1) as got, engines.ort(start, threads=1) as exact:
        np.testing.assert_allclose(got.run(feed)["y"], exact.run(feed)["y"], rtol=1e-4, atol=1e-4)


def test_the_method_that_was_kept_serves_later_rungs() -> None:
    ladder = ladder_of(token_net(), tokens(32))
    smoothing.climb(ladder)
    last = next(trial for trial in reversed(ladder.trials) if trial.kept)
    chosen = [name for name in METHODS if f", {name}" in last.label]
    assert ladder.methods.default == (METHODS[chosen[0]] if chosen else MinMax())
    assert last.rung == smoothing.RUNG
