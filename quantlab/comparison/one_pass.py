"""One pass over the data: every engine runs once a batch, and the second of each pair is held against the first."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from quantlab.comparison.fixed_batch import cut, fixed_rows, run_filled
from quantlab.comparison.labelled import LabelledBatches
from quantlab.comparison.observation import Answers, Merging, Observation
from quantlab.comparison.tensors import TensorProbe
from quantlab.data.batch import Batch, Dataset
from quantlab.engines.engine import Engine
from quantlab.errors import InputError
from quantlab.metrics.labels import Labels
from quantlab.metrics.metric import Metric
from quantlab.numerics.arrays import AnyArray, Tensors

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called after each batch with the samples done and how many there will be, or None where nobody knows."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two engines with the same inputs and outputs, and maybe two that show their inner tensors.

    Raises
    ------
    InputError
        When the engines' inputs or outputs differ.
    """

    fp32: Engine
    int8: Engine
    probe: TensorProbe | None = None

    def __post_init__(self) -> None:
        _check_same("inputs", self.fp32.inputs, self.int8.inputs)
        _check_same("outputs", self.fp32.outputs, self.int8.outputs)


class Observes(Protocol):
    """What observes in the place of this process: `ql.processes(4)`, `ql.ray(workers=4)`."""

    def observe(
        self,
        pairs: Mapping[str, Pair],
        data: Dataset,
        labels: AnyArray | Labels | None,
        metrics: tuple[Metric, ...],
        progress: Progress | None,
    ) -> dict[str, Observation]:
        """Return what `observe` returns, to the same bits."""
        ...


def observe(
    pairs: Mapping[str, Pair],
    source: LabelledBatches,
    metrics: tuple[Metric, ...],
    progress: Progress | None = None,
) -> dict[str, Observation]:
    """Return what each pair showed; an engine in several pairs runs once a batch, and one batch is in memory at a time.

    Raises
    ------
    InputError
        When an engine refuses a batch, labels are missing or do not fit, or there is no sample.
    """
    engines = tuple({id(e): e for pair in pairs.values() for e in (pair.fp32, pair.int8)}.values())
    seen = {name: Merging() for name in pairs}
    done = 0
    for batch, labels in cut(source.batches(engines[0].inputs), fixed_rows(*engines)):
        _check_labels(metrics, labels)
        # The probes first: an engine's answers are valid until it runs again, and a probe may share its buffers.
        inner = {name: pair.probe.measure(batch) if pair.probe else {} for name, pair in pairs.items()}
        found = {id(engine): run_filled(engine, batch) for engine in engines}
        for name, pair in pairs.items():
            answers = _answers(pair, batch, labels, found)
            try:
                seen[name].add(answers.observe(metrics, inner[name]))
            except InputError as error:
                raise InputError(f"In the batch from {_named(batch, done)} on: {error}") from error
        done += batch.samples
        if progress is not None:
            progress(done, source.total)
    return {name: merging.total() for name, merging in seen.items()}


def _answers(pair: Pair, batch: Batch, labels: AnyArray | None, found: Mapping[int, Tensors]) -> Answers:
    return Answers(batch, labels, found[id(pair.fp32)], found[id(pair.int8)])


def _named(batch: Batch, index: int) -> str:
    return f"sample {index} («{batch.names[0]}»)" if batch.names else f"sample {index}"


def _check_labels(metrics: tuple[Metric, ...], labels: AnyArray | None) -> None:
    needing = [metric.name for metric in metrics if getattr(metric, "needs_labels", True)]
    if labels is None and needing:
        raise InputError(
            f"The data have no labels, which {', '.join(needing)} need: give labels, or metrics=() for agreement and "
            "output errors alone."
        )


def _check_same(what: str, fp32: Iterable[str], int8: Iterable[str]) -> None:
    one, two = list(fp32), list(int8)
    if set(one) != set(two):
        raise InputError(
            f"The two networks have different {what}, {one} for FP32 and {two} for INT8: give engines over the same "
            f"network, `restrict`ed to the same {what} if need be."
        )
