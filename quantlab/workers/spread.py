"""Spreads a collection or a comparison over workers: `ql.collect(engine, data, on=ql.processes(4))`."""

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from math import lcm
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any

from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.provenance import DataIdentity, Provenance
from quantlab.collector.collect import CollectOptions
from quantlab.collector.deriving import Plan, plan_counting
from quantlab.collector.sizing import LARGEST_BATCH
from quantlab.comparison.observation import Observation
from quantlab.comparison.one_pass import Pair
from quantlab.data.batch import Dataset, Divisible
from quantlab.data.fingerprint import identify
from quantlab.engines.engine import Engine
from quantlab.errors import InputError, StaleError
from quantlab.metrics.labels import Labels, as_labels
from quantlab.metrics.metric import Metric
from quantlab.numerics.arrays import AnyArray
from quantlab.versions import versions
from quantlab.workers.collecting import CollectBench, CollectTask, Counted, merged
from quantlab.workers.comparing import CompareBench, CompareTask, engines_of
from quantlab.workers.here import HerePool
from quantlab.workers.ledger import SHARD
from quantlab.workers.loop import Progress, Samples, ShardLoop, Survival
from quantlab.workers.opening import divisible, opening_of
from quantlab.workers.part_form import Head, LeftOut, check_hashes, recipe_digest
from quantlab.workers.pool import Facts, Hiring, Pool
from quantlab.workers.seen import Seen, merged_seen
from quantlab.workers.shelf import Part, Shelf

_FORM = 1
"""Of the parts; another one makes all that is stored void."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How work is shared out; the bits of what comes out do not depend on it.

    Attributes
    ----------
    hiring
        Where workers come from; None is this process itself, which then stores its progress, no more.
    survival
        What is done about faults.
    parts
        Folder in which finished parts are kept until `clear`, so that a killed run goes on from there; None keeps them
        for the time of the call.
    shard
        Samples that are not spread over two workers; None is 64, or a batch where that is larger.
    told
        Called with the samples that had to be left out.
    """

    hiring: Hiring | None = None
    survival: Survival = field(default_factory=Survival)
    parts: Path | None = None
    shard: int | None = None
    told: Callable[[Sequence[LeftOut]], None] | None = None

    def collect(self, engine: Engine, data: Dataset, options: CollectOptions) -> HistogramSet:
        """Return the histograms of `quantlab.collector.collect`, to the same bits.

        Raises
        ------
        InputError
            As `collect`; also for a sample that ends its worker, by name.
        UsageError
            For data or an engine that cannot be sent to workers.
        StaleError
            For workers that differ.
        MachineError
            When workers do not start, or memory or disk run out.
        """
        source = divisible(data)
        plan = plan_counting(engine, tensorrt=False)
        fields = {
            "collect": _FORM,
            "model": engine.model_digest,
            "wanted": plan.wanted,
            "counted": plan.counted,
            "budget": options.budget,
            "nonfinite": options.nonfinite,
        }
        batch = int(getattr(engine, "largest_batch", LARGEST_BATCH))
        samples = self._samples(source, batch, 1, lambda left: Counted.without(left).render())
        with self._shelf(fields, samples) as shelf, ExitStack() as opened:
            pool = self._collecting(engine, plan, options, opened)
            loop = ShardLoop(pool, shelf, samples, survival=self.survival, progress=options.progress)
            found = merged([Counted.parse(shelf.read(part)) for part in _run(loop, pool)])
        self._finish(samples, found.head)
        if not found.histograms:
            raise InputError("There is nothing to calibrate on: every sample was left out.")
        provenance = Provenance(
            engine.model_digest,
            engine.model_name,
            (_identity(source, found.head),),
            self._ran(found.head),
            "log-linear",
        )
        shapes = {name: engine.outputs[name].shape for name in plan.wanted}
        return HistogramSet({t: found.histograms[t] for t in plan.wanted}, provenance, shapes, plan.sources)

    def observe(
        self,
        pairs: Mapping[str, Pair],
        data: Dataset,
        labels: AnyArray | Labels | None,
        metrics: tuple[Metric, ...],
        progress: Progress | None,
    ) -> dict[str, Observation]:
        """Return what each pair of engines showed, as `quantlab.comparison.one_pass.observe` does, to the same bits.

        Raises
        ------
        InputError, UsageError, StaleError, MachineError
            As `collect`.
        """
        source, known = divisible(data), None if labels is None else as_labels(labels)
        fields = {
            "compare": _FORM,
            "pairs": {name: _pair_fields(pair) for name, pair in pairs.items()},
            "metrics": [metric.name for metric in metrics],
            "code": _code(metrics),
            "values": _digest(
                (known, metrics, [pair.probe.table for pair in pairs.values() if pair.probe is not None])
            ),
        }
        samples = self._samples(source, source.batch, source.batch, lambda left: Seen.without(left).render())
        with self._shelf(fields, samples) as shelf:
            if self.hiring is None:
                pool: Pool = HerePool(CompareBench(pairs, known, metrics))
            else:
                pool = self.hiring.pool(CompareTask.of(pairs, known, metrics))
            loop = ShardLoop(pool, shelf, samples, survival=self.survival, progress=progress)
            found = merged_seen([Seen.parse(shelf.read(part)) for part in _run(loop, pool)])
        self._finish(samples, found.head)
        self._ran(found.head)
        if found.head.left_out and not hasattr(source, "recall"):
            raise InputError(
                f"A comparison leaves out image files only; take this out of the data: {found.head.left_out[0]}"
            )
        if not found.observations:
            raise InputError("There is nothing to compare on: every sample was left out.")
        return dict(found.observations)

    def clear(self) -> None:
        """Delete the stored parts: what they were for is done."""
        if self.parts is not None:
            Shelf(self.parts, "").clear()

    def _collecting(self, engine: Engine, plan: Plan, options: CollectOptions, opened: ExitStack) -> Pool:
        exact = plan.counted == tuple(engine.outputs)
        if self.hiring is None:
            counting = opened.enter_context(nullcontext(engine) if exact else engine.exposing(plan.counted))
            return HerePool(CollectBench(counting, plan, options))
        # What travels is what opens the engine; here it is closed again before anyone works.
        with nullcontext(engine) if exact else engine.exposing(plan.counted) as counting:
            opening = opening_of(counting)
        return self.hiring.pool(CollectTask(opening, plan, options.budget, options.nonfinite))

    def _samples(self, data: Divisible, batch: int, grain: int, empty: Callable[[Sequence[LeftOut]], bytes]) -> Samples:
        least = lcm(batch, grain)
        shard = -(-(self.shard or SHARD) // least) * least
        return Samples(data, data.sample_hashes, shard, grain, empty)

    @contextmanager
    def _shelf(self, fields: dict[str, Any], samples: Samples) -> Iterator[Shelf]:
        data = samples.data
        told = {"data": data.identity.preprocess_digest, "batch": data.batch, "quantlab": versions()["quantlab"]}
        recipe = recipe_digest(fields | told, samples.hashes)
        if self.parts is not None:
            yield Shelf(self.parts, recipe)
            return
        with TemporaryDirectory(prefix="quantlab-") as folder:
            yield Shelf(Path(folder), recipe)

    def _finish(self, samples: Samples, head: Head) -> None:
        """Check that the workers read these data, and tell what they left out."""
        check_hashes(samples.hashes, head, 0)
        recall = getattr(samples.data, "recall", None)
        if recall is not None:
            recall(head.skipped, [sample.place for sample in head.left_out])
        if self.told is not None and head.left_out:
            self.told(head.left_out)

    def _ran(self, head: Head) -> dict[str, str]:
        """Return what ran; of workers that differ, all versions."""
        if len(head.facts) > 1 and not self.survival.allow_mixed:
            raise StaleError(
                f"The parts in '{self.parts}' were made by machines that differ: {'; '.join(map(str, head.facts))}. "
                "Delete the folder, or give --allow-mixed (allow_mixed in a job), which the result then says."
            )
        return _together(head.facts)


def _run(loop: ShardLoop, pool: Pool) -> list[Part]:
    try:
        return loop.run()
    finally:
        pool.close()


def _identity(data: Divisible, head: Head) -> DataIdentity:
    known = data.identity
    if not head.left_out:
        return known
    return identify(known.name, filter(None, head.hashes), preprocess=known.preprocess, random=known.random)


def _together(facts: Sequence[Facts]) -> dict[str, str]:
    names = dict.fromkeys(name for one in facts for name in one.versions)
    found = {name: " + ".join(sorted({one.versions.get(name, "none") for one in facts})) for name in names}
    processors = sorted({one.processor for one in facts})
    return found if len(processors) < 2 else found | {"processors": " + ".join(processors)}


def _pair_fields(pair: Pair) -> dict[str, Any]:
    shown = {role: [one.model_digest, one.backend, list(one.outputs)] for role, one in engines_of(pair).items()}
    probe = pair.probe
    return shown if probe is None else shown | {"tensors": probe.names, "batch": probe.batch}


def _digest(values: Any) -> str:
    """Return the digest of Python values as they would travel; of what cannot travel no two are taken for the same."""
    try:
        return hashlib.sha256(ForkingPickler.dumps(values)).hexdigest()
    except (AttributeError, TypeError, ValueError):
        return token_hex()


def _code(metrics: Iterable[Metric]) -> list[str]:
    """Return the digests of the files with the user's own metrics, which travel by name only."""
    modules = {getattr(one, "__module__", "") for metric in metrics for one in (type(metric), *_functions(metric))}
    files = {getattr(sys.modules.get(name), "__file__", None) for name in modules if not name.startswith("quantlab.")}
    return sorted(
        hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files if file and Path(file).is_file()
    )


def _functions(metric: Metric) -> list[Any]:
    return [found for name in ("function", "scoring") if (found := getattr(metric, name, None)) is not None]
