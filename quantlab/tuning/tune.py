"""PTQ as good as it gets by itself: a ladder of trials, each measured, until a stated target holds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from quantlab import engines
from quantlab.builder import QuantizeOptions
from quantlab.calibration.scale_table import ScaleTable
from quantlab.collector.collect import collect
from quantlab.comparison.finality import check_unseen
from quantlab.data.batch import Dataset
from quantlab.data.stream import UnknownLengthError, as_dataset
from quantlab.errors import UsageError
from quantlab.graph.model import Model, load_model
from quantlab.metrics.metric import Metric
from quantlab.metrics.top_k import TopK
from quantlab.numerics.arrays import Tensors
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.held import Held
from quantlab.tuning.journal import TARGET, Journal
from quantlab.tuning.ladder import Ground, Ladder, Watch
from quantlab.tuning.rungs import (
    bias_correction,
    equalization,
    mixed_precision,
    other_modes,
    rounding,
    smoothing,
    thresholds,
    weights,
)
from quantlab.tuning.score import Score
from quantlab.tuning.scoring import Fidelity, Scorer
from quantlab.tuning.target import Target
from quantlab.tuning.trial import Trial
from quantlab.tuning.tuned import Tuned
from quantlab.versions import versions

RUNGS: dict[str, Callable[[Ladder], None]] = {
    "thresholds": thresholds.climb,
    "smoothing": smoothing.climb,
    "weights": weights.climb,
    "equalization": equalization.climb,
    "bias correction": bias_correction.climb,
    "adaptive rounding": rounding.climb,
    "learned scales": rounding.climb_scales,
    "mixed precision": mixed_precision.climb,
}
"""In the order in which they are climbed: what keeps the float network exact, then what corrects it, and last what costs time."""


_FIRST = 4  # a quarter of the samples that rank tells what is hopeless
_SOME = 4  # a quarter of all tells what is far from the target

_ROOM = 1 << 29
"""Bytes of calibration samples that stay in memory instead of being decoded for each pass."""


@dataclass(frozen=True, slots=True, eq=False)
class TuneOptions:
    """How to search.

    Attributes
    ----------
    quantize
        Target, head and form of the INT8 model.
    metrics
        Of the task, the one that counts first; None is top-1 where there are labels.
    fidelity
        (FP32's outputs, INT8's outputs) → a value a sample: for networks without classes.
    rungs
        Names of `RUNGS`.
    samples
        At most so many tuning samples, spread evenly; None takes all.
    ranking
        Trials that only rank run on so many of them.
    walk_samples, walk_memory
        Samples that walk through the network for bias correction and rounding, and bytes for what lies between operators.
    modes
        Also measure weight-only and dynamic quantization, for comparison.
    folder
        Where the search is kept, so that it goes on there if it is stopped.
    fresh
        Forget a search that is there.
    threads
        Of ONNX Runtime; None is one a core.
    on_trial, watch
        Told of each trial, and of what is going on.
    """

    quantize: QuantizeOptions = field(default_factory=QuantizeOptions)
    metrics: tuple[Metric, ...] | None = None
    fidelity: Fidelity | None = None
    rungs: tuple[str, ...] = tuple(RUNGS)
    samples: int | None = None
    ranking: int = 64
    walk_samples: int = 128
    walk_memory: int = 1 << 30
    modes: bool = False
    folder: Path | None = None
    fresh: bool = False
    threads: int | None = None
    on_trial: Callable[[Trial], None] = lambda _trial: None
    watch: Watch = lambda _what, _done, _total: None

    def __post_init__(self) -> None:
        if unknown := [name for name in self.rungs if name not in RUNGS]:
            raise UsageError(f"There is no rung «{unknown[0]}»; the rungs are {', '.join(RUNGS)}.")
        if "thresholds" not in self.rungs:
            raise UsageError("The rung «thresholds» gives the first scales, so it cannot be left out.")
        for what in ("samples", "ranking", "walk_samples", "walk_memory"):
            value = getattr(self, what)
            if value is not None and value < 1:
                raise UsageError(f"`{what}` must be at least 1, not {value}.")


def tune(
    model: str | PathLike[str] | Model | Any,
    data: Dataset | Iterable[Tensors],
    *,
    tuning: Dataset | Iterable[Tensors] | None = None,
    evaluation: Dataset | Iterable[Tensors] | None = None,
    target: Target | None = None,
    options: TuneOptions | None = None,
) -> Tuned:
    """Search for an INT8 form of a float network that loses no more than `target` allows.

    Parameters
    ----------
    model
        The float model.
    data
        Calibration samples: they choose ranges, biases and integers.
    tuning
        Samples on which trials are measured, labelled if the task's metric is to count; None takes `data`.
    evaluation
        Samples that choose nothing: the final candidate runs over them once.
    target
        What may be lost; None: half a point.

    Raises
    ------
    UsageError
        When nothing can be measured that the target asks for.
    InputError
        For a model or data that cannot be used, or an evaluation set that overlaps the others.
    StaleError
        When the folder holds another search.
    """
    settings, wanted = options or TuneOptions(), target or Target()
    loaded, known = load_model(model), _dataset(data)
    chosen = known if tuning is None else _dataset(tuning)
    unseen = None if evaluation is None else _dataset(evaluation)
    if unseen is not None:
        check_unseen(unseen.identity, (known.identity, chosen.identity))
    scorer = _scorer(loaded, chosen, wanted, settings, limit=settings.samples, stages=_stages(chosen, settings))
    wanted = wanted.fitting(scorer.against_itself())
    asked = _asked(scorer, known, chosen, wanted, settings)
    journal = Journal(settings.folder, asked, settings.quantize, fresh=settings.fresh)
    ladder = _ladder(loaded, known, scorer, wanted, settings, journal)
    for name, climb in RUNGS.items():
        if name in settings.rungs and not ladder.done:
            ladder.climb(name, climb)
    ladder.finish()
    if settings.modes:
        other_modes.climb(ladder)
    # With the weights' scales in the table, the prepared model and the table alone give the Q/DQ model again.
    best = ladder.best.with_table(_told(ladder.best.table.with_rows(ladder.best.quantized().weights), chosen))
    final = _final(loaded, unseen, best, wanted, settings)
    return Tuned.of(ladder, best, wanted, final)


def _dataset(data: Dataset | Iterable[Tensors]) -> Dataset:
    """Return a data set; a stream goes by once, as only then it knows what and how many its samples are."""
    found = as_dataset(data)
    try:
        len(found)
    except UnknownLengthError:
        for _ in found:
            pass
    return found


def _stages(data: Dataset, settings: TuneOptions) -> tuple[int, ...]:
    """Return how many samples tell what is hopeless, how many rank, and how many show what is far from the target."""
    some = min(len(data), settings.samples or len(data)) // _SOME
    ranks = (-(-settings.ranking // _FIRST), settings.ranking)
    return (*ranks, some) if some >= 2 * settings.ranking else ranks


def _ladder(
    model: Model, data: Dataset, scorer: Scorer, target: Target, settings: TuneOptions, journal: Journal
) -> Ladder:
    with engines.ort(model, expose="quantizable", target=settings.quantize.target, threads=settings.threads) as engine:
        settings.watch("histograms of the calibration samples", 0, None)
        whole = data.identity == scorer.data.identity and len(data) == len(scorer.data)
        data = scorer.data if whole else Held.within(data, engine.inputs, _ROOM)
        histograms = collect(engine, data)
    ground = Ground(
        data, histograms, scorer, target,
        {"samples": settings.walk_samples, "memory": settings.walk_memory}, settings.threads, settings.watch,
    )  # fmt: skip
    first = Candidate(model, thresholds.FIRST.table(histograms), settings.quantize)
    return Ladder(ground, first, journal, settings.on_trial)


def _scorer(
    model: Model,
    data: Dataset,
    target: Target,
    settings: TuneOptions,
    *,
    limit: int | None = None,
    stages: Sequence[int] = (),
) -> Scorer:
    settings.watch("what FP32 answers", 0, None)
    scorer = Scorer.begin(
        model, data, limit=limit, stages=stages, fidelity=settings.fidelity, level=target.confidence,
        threads=settings.threads,
    )  # fmt: skip
    metrics = settings.metrics
    if metrics is None:
        metrics = (TopK(1),) if scorer.data.labelled else ()
    return replace(scorer, metrics=tuple(metrics))


def _final(model: Model, data: Dataset | None, best: Candidate, target: Target, settings: TuneOptions) -> Score | None:
    if data is None:
        return None
    settings.watch("the evaluation set, once", 0, None)
    return _scorer(model, data, target, settings).score(best)


def _told(table: ScaleTable, tuning: Dataset) -> ScaleTable:
    """Return the table with the tuning set among those that had a say."""
    known = table.provenance
    if known is None or tuning.identity in known.chosen_on:
        return table
    return replace(table, provenance=replace(known, chosen_on=(*known.chosen_on, tuning.identity)))


def _asked(scorer: Scorer, data: Dataset, tuning: Dataset, target: Target, settings: TuneOptions) -> dict[str, Any]:
    given = settings.quantize
    named = {"target": given.target, "head": given.head, "weights": given.weights, "missing": given.allow_missing}
    return {
        "model": scorer.reference.digest,
        "data": [data.identity.digest, data.identity.preprocess_digest],
        "tuning": [tuning.identity.digest, tuning.identity.preprocess_digest],
        TARGET: str(target),
        "confidence": target.confidence,
        "labels": scorer.data.labels_digest,
        "options": named | {"float": sorted(given.keep_float), "weight method": _told_apart(given.weight_method)},
        "rungs": list(settings.rungs),
        "samples": [settings.samples, settings.ranking, settings.walk_samples, settings.walk_memory],
        "metrics": [f"{metric.name}: {_told_apart(metric)}" for metric in scorer.metrics],
        "fidelity": _told_apart(settings.fidelity),
        "versions": versions(""),
    }


def _told_apart(value: Any) -> str:
    """Return what tells a user's object or function from others, in another process too, where addresses differ."""
    if value is None or is_dataclass(value):
        return repr(value)
    code = getattr(value, "__code__", None)
    if code is None:
        return f"{type(value).__module__}.{type(value).__qualname__}"
    constants = [each for each in code.co_consts if isinstance(each, bool | int | float | str)]
    digest = hashlib.blake2b(code.co_code + repr((code.co_names, constants)).encode(), digest_size=8)
    return f"{value.__qualname__} {digest.hexdigest()}"
