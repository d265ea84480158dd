"""What the search refuses before it runs, and odd networks that it gets through."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

from quantlab.errors import InputError, UsageError
from quantlab.metrics.own import metric
from quantlab.metrics.top_k import TopK
from quantlab.numerics.arrays import AnyArray, Tensors
from quantlab.tuning.target import Target
from quantlab.tuning.trial import Trial
from quantlab.tuning.tune import TuneOptions, tune
from quantlab.tuning.tuned import Tuned
from tests.graph.nets import net, net_of
from tests.tuning.nets import Rows, classes, classifier, matmul_net, smooth, tokens

CHEAP = ("thresholds", "weights", "equalization", "bias correction")
OPTIONS = TuneOptions(rungs=CHEAP, walk_samples=16, ranking=16, threads=1)


def small(target: Target, data: Rows | None = None, **settings: Any) -> Tuned:
    return tune(classifier(), data or classes(48), target=target, options=replace(OPTIONS, **settings))


def distance(exact: Tensors, int8: Tensors) -> AnyArray:
    return np.asarray(np.abs(exact["y"] - int8["y"]).mean(axis=(1, 2)))


@pytest.mark.parametrize(
    ("target", "settings", "words"),
    [
        (Target(), {}, r"no drop in points can be measured: give a least SQNR, or a fidelity function"),
        (Target(None, min_agreement=0.9), {}, "no agreement to reach"),
        (Target(None, min_fidelity=0.9), {}, "give the function that compares, too"),
        (Target(None, min_fidelity=0.9), {"fidelity": distance}, "FP32 against itself has 0: larger must be better"),
        (Target(None), {}, "asks for nothing"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_runs(
    target: Target, settings: dict[str, Any], words: str
) -> None:
    tried: list[Trial] = []
    options = replace(OPTIONS, on_trial=tried.append, **settings)
    with pytest.raises(UsageError, match=words):
        tune(matmul_net(), tokens(), target=target, options=options)
    assert not tried


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rungs": ("thresholds", "magic")}, "no rung «magic»; the rungs are thresholds, smoothing, "),
        ({"rungs": ("weights",)}, "«thresholds» gives the first scales"),
        ({"samples": 0}, "`samples` must be at least 1, not 0"),
        ({"ranking": 0}, "`ranking` must be at least 1"),
        ({"walk_samples": -3}, "`walk_samples` must be at least 1, not -3"),
    ],
)
def test_impossible_options_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        TuneOptions(**settings)


def test_samples_that_chose_cannot_be_the_last_word() -> None:
    data, other = classes(48), classes(48, seed=2, name="others")
    both = Rows(
        {"image": np.concatenate([other.inputs["image"][:3], classes(20, seed=3).inputs["image"]])}, name="part"
    )
    for evaluation in (data, other, both):
        with pytest.raises(InputError, match="was used to choose the scales: it shares samples with"):
            tune(classifier(), data, tuning=other, evaluation=evaluation, target=Target(1.0), options=OPTIONS)


def test_a_metric_that_does_not_fit_is_refused_at_the_start() -> None:
    tried: list[Trial] = []
    options = replace(OPTIONS, on_trial=tried.append, metrics=(TopK(1),))
    with pytest.raises(InputError, match="no labels, which top-1 need"):
        tune(classifier(), replace(classes(20), labels=None), target=Target(1.0), options=options)
    labelled = replace(tokens(), labels=np.zeros(24, np.int64))
    with pytest.raises(InputError, match="or give metrics that fit the model"):
        tune(matmul_net(), labelled, target=Target(1.0), options=replace(options, metrics=None))
    own = metric(lambda outputs, _labels: next(iter(outputs.values())).max(axis=1), name="largest logit")
    for target in (Target(1.0), Target(None, min_sqnr_db=10.0)):
        with pytest.raises(UsageError, match="«largest logit», the first metric, is no share"):
            tune(classifier(), classes(20), target=target, options=replace(options, metrics=(own,)))
    assert not tried


def test_nan_in_a_sample_is_refused_by_name() -> None:
    data = classes(20)
    broken = data.inputs["image"].copy()
    broken[4, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="holds NaN or infinity"):
        small(Target(1.0), replace(data, inputs={"image": broken}))
    with pytest.raises(InputError, match="NaN"):
        tune(
            classifier(), replace(data, inputs={"image": broken}, name="bad"), tuning=classes(20, seed=2), target=Target(1.0),
            options=OPTIONS,
        )  # fmt: skip


def constant(value: float) -> onnx.ModelProto:
    """Two convolutions and a classifier whose weights are all the same number."""
    text = (
        "g (float[N,3,8,8] x) => (float[N,5] y) { a = Conv(x, w1) \n r = Relu(a) \n b = Conv(r, w2) \n"
        "p = GlobalAveragePool(b) \n f = Flatten(p) \n y = Gemm<transB = 1>(f, w3) }"
    )
    shapes = {"w1": (4, 3, 1, 1), "w2": (4, 4, 1, 1), "w3": (5, 4)}
    return net_of(text, **{name: np.full(shape, value, "f") for name, shape in shapes.items()})


@pytest.mark.parametrize("value", [0.0, 1e-30, 0.5])
@pytest.mark.parametrize("fill", [None, 0.0, 3.0])
def test_constant_networks_and_samples_come_to_a_verdict(value: float, fill: float | None) -> None:
    rows = smooth(16, size=8) if fill is None else np.full((16, 3, 8, 8), fill, "f")
    found = tune(constant(value), Rows({"x": rows}, 8), target=Target(0.5, min_sqnr_db=99.0), options=OPTIONS)
    assert found.verdict.startswith("PTQ ")
    assert found.trials[0].kept
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_weights_that_are_no_numbers_are_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"NaN|infinit"):
        tune(constant(value), Rows({"x": smooth(8, size=8)}), target=Target(1.0), options=OPTIONS)


def test_a_network_without_anything_to_quantize_is_refused() -> None:
    model = net("g (float[N,4] x) => (float[N,4] y) { a = Relu(x) \n y = Sigmoid(a) }")
    with pytest.raises(InputError, match="quantizes nothing of this model"):
        tune(model, Rows({"x": np.ones((8, 4), "f")}), target=Target(1.0), options=OPTIONS)


def test_one_sample_is_enough_to_run() -> None:
    found = small(Target(None, min_sqnr_db=99.0), classes(1, wrong=99))
    assert found.score.samples == 1
    assert found.standing == "misses"
