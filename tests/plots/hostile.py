"""Every value that quantlab shows, made by real runs of a network in which all names are markup."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import onnx

import quantlab as ql
from quantlab.collector.channels import ChannelRanges
from quantlab.comparison.engine_figures import EngineFigures
from quantlab.comparison.lineup import Entry
from quantlab.engines.tensorrt.card import PlanCard
from quantlab.graph.model import Model, load_model
from quantlab.tuning.choices import Choice
from quantlab.tuning.mixed_precision import mixed_precision
from quantlab.tuning.score import Score
from quantlab.tuning.scoring import Scorer
from quantlab.tuning.sensitivity import measure_sensitivity
from quantlab.tuning.trial import Trial
from tests.audit.reports import layer, report
from tests.networks import image_batch, small_cnn

EVIL = "<img src=x onerror=alert(1)>"


def evil(name: str) -> str:
    return EVIL + name


@lru_cache
def network() -> Model:
    """The small CNN, the name of every tensor, node and of the graph a tag."""
    proto = small_cnn()
    graph = proto.graph
    graph.name = EVIL
    for node in graph.node:
        node.name = evil(node.name)
        for names in (node.input, node.output):
            names[:] = [evil(name) if name else name for name in names]
    for tensor in graph.initializer:
        tensor.name = evil(tensor.name)
    for value in (*graph.input, *graph.output):
        value.name = evil(value.name)
    onnx.checker.check_model(proto)
    return load_model(proto)


def batches(count: int = 12, seed: int = 1) -> ql.data.Dataset:
    def source() -> list[Any]:
        rows = image_batch(count, seed)
        named = tuple(evil(str(i)) for i in range(count))
        return [ql.data.Batch({evil("image"): rows}, labels=np.arange(count) % 5, names=named)]

    made = ql.data.stream(source, name=EVIL)
    assert len(list(iter(made))) == 1  # a stream knows itself after one pass
    return made


@lru_cache
def histograms() -> ql.HistogramSet:
    with ql.engines.ort(network(), expose="quantizable", threads=1) as engine:
        return ql.collect(engine, batches())


@lru_cache
def table() -> ql.ScaleTable:
    return ql.calibrate(histograms())


@lru_cache
def quantized() -> ql.QuantizedModel:
    return ql.quantize(network(), table())


@lru_cache
def comparison() -> ql.Comparison:
    probe = ql.TensorProbe(
        ql.engines.ort(network(), expose="quantizable", threads=1),
        ql.engines.ort(quantized().model, expose=tuple(table()), optimize=False, threads=1),
        table=table(),
    )
    fp32 = ql.engines.ort(network(), threads=1)
    int8 = ql.engines.simulation(quantized().model, threads=1)
    options = ql.CompareOptions(final=False, probe=probe)
    return ql.compare(fp32, int8, batches(seed=2), metrics=(ql.TopK(1),), options=options)


@lru_cache
def diagnosis() -> ql.Diagnosis:
    options = ql.DiagnoseOptions(threads=1)
    return ql.diagnose(network(), batches(40), int8=quantized().model, table=table(), options=options)


def audited() -> ql.Audit:
    row = layer(EVIL, "CaskConvolution", f"{evil('a')} INT8", f"{evil('b')} FP32", evil("n1"))
    return ql.audit_engine(report(row, bindings=(evil("a"), evil("b"))))


def plan() -> ql.Plan:
    card = PlanCard(
        library="tensorrt", version="8.6.1", device=EVIL, compute_capability="9.0", version_compatible=False,
        hardware_compatible=False, precision=("fp32", "int8"), scales="Q/DQ", scales_digest="", model="sha256:34",
        model_name=EVIL, digest="sha256:12", layers_digest="", size=3, build_seconds=1.5, device_memory=None, stripped=False,
    )  # fmt: skip
    return ql.Plan(b"abc", card, report(layer(EVIL, "CaskConvolution", "a INT8", "b FP32", "n1")))


def figures() -> EngineFigures:
    return EngineFigures.from_json(
        {
            "command": EVIL, "measured": EVIL, "device": EVIL, "versions": {"tensorrt": EVIL},
            "tables": {EVIL: [{"name": EVIL, EVIL: 1.0}]}, "checks": [], "engines": {},
        }
    )  # fmt: skip


@lru_cache
def searched() -> tuple[Any, Any, Any]:
    """A candidate, and the sensitivity and mixed precision of it."""
    candidate = ql.Candidate(network(), table(), ql.QuantizeOptions())
    scorer = Scorer.begin(network(), batches(), threads=1)
    found = measure_sensitivity(scorer, candidate)
    return candidate, found, mixed_precision(scorer, candidate, ql.Target(None, min_sqnr_db=200.0), found)


def tuned() -> ql.Tuned:
    candidate, sensitivity, mixed = searched()
    score = Score(12, {EVIL: 20.0})
    tried = (Trial("r", evil("a"), EVIL, score, kept=True), Trial("r", evil("b"), EVIL, note=EVIL))
    choice = Choice(EVIL, 1.0, EVIL, 0.0, 30.0, None, EVIL)
    return ql.Tuned(candidate, tried, ql.Target(None, min_sqnr_db=10.0), score, None, (choice,), sensitivity, mixed)


NAMES = (
    "Audit",
    "Batch",
    "Candidate",
    "ChannelRanges",
    "ChannelSet",
    "Comparison",
    "Convergence",
    "DataIdentity",
    "Diagnosis",
    "Effect",
    "EngineFigures",
    "Flips",
    "Histogram",
    "HistogramSet",
    "Lineup",
    "MixedPrecision",
    "Model",
    "Override",
    "Overrides",
    "Plan",
    "QuantizedModel",
    "RandomData",
    "Recording",
    "SampleTable",
    "Scale",
    "ScaleTable",
    "Sensitivity",
    "Stream",
    "Target",
    "TensorRTHistogram",
    "ThreeWay",
    "Tuned",
)


@lru_cache
def values() -> dict[str, Any]:
    """Every value type by its public name, or its class's."""
    seen, made = comparison(), diagnosis()
    candidate, sensitivity, mixed = searched()
    channels = ql.collect_channels(ql.engines.ort(network(), expose="quantizable", threads=1), batches())
    samples = seen.samples_table
    assert samples is not None
    return {
        "Audit": audited(),
        "Batch": next(iter(batches())),
        "Candidate": candidate,
        "ChannelRanges": ChannelRanges.of(image_batch(2)),
        "ChannelSet": channels,
        "Comparison": seen,
        "Convergence": made.convergence[0],
        "DataIdentity": batches().identity,
        "Diagnosis": made,
        "Effect": ql.Effect(network(), batches(), samples=2, threads=1),
        "EngineFigures": figures(),
        "Flips": made.flips,
        "Histogram": histograms()[evil("image")],
        "HistogramSet": histograms(),
        "Lineup": ql.Lineup((Entry(EVIL, seen, EVIL),), EVIL),
        "MixedPrecision": mixed,
        "Model": network(),
        "Override": ql.Override(EVIL, ql.Range(0, 1), EVIL),
        "Overrides": ql.Overrides((ql.Override(EVIL, ql.Range(0, 1), EVIL),)),
        "Plan": plan(),
        "QuantizedModel": quantized(),
        "RandomData": ql.data.random_data(
            {EVIL: ql.engines.ort(network(), threads=1).inputs[evil("image")]}, samples=2, seed=0
        ),
        "Recording": replace(ql.record(ql.engines.ort(network(), threads=1), batches()), model_name=EVIL, backend=EVIL),
        "SampleTable": samples,
        "Scale": table()[evil("image")],
        "ScaleTable": table(),
        "Sensitivity": sensitivity,
        "Stream": batches(),
        "Target": ql.Target(),
        "TensorRTHistogram": ql.TensorRTHistogram.starting(1.0, batch=2).added(np.ones(3, np.float32)),
        "ThreeWay": ql.ThreeWay(
            seen, seen, seen, seen, ql.Thresholds(build_db=0.0, scales_db=99.0, ceiling_db=99.0, jump_db=0.1)
        ),
        "Tuned": tuned(),
    }
