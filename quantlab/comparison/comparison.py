"""FP32 and INT8 on the same samples, in one pass: scores, agreement, tensor errors, and how sure they are."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import PlainValidator

from quantlab.calibration.provenance import DataIdentity
from quantlab.comparison.agreement import Agreement, Flip
from quantlab.comparison.backends import Backends
from quantlab.comparison.finality import check_unseen, may_be_final, sets_with_a_say
from quantlab.comparison.fixed_batch import cut, fixed_rows, run_filled
from quantlab.comparison.frames import flips_frame, scores_frame, tensors_frame
from quantlab.comparison.json_form import from_json, to_json
from quantlab.comparison.labelled import LabelledBatches
from quantlab.comparison.latency import Latency
from quantlab.comparison.metric_score import MetricScore
from quantlab.comparison.observation import Answers, NanSamples, Observation, merge_all
from quantlab.comparison.statistics import Interval
from quantlab.comparison.tasks import Metric, TopK
from quantlab.comparison.tensors import TensorError, TensorProbe
from quantlab.data.batch import Batch, Dataset
from quantlab.engines.engine import Engine
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray, Tensors

if TYPE_CHECKING:
    import pandas as pd

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called after each batch with the samples done and how many there will be, or None where nobody knows."""


_Identity: TypeAlias = Annotated[DataIdentity, PlainValidator(DataIdentity.from_json)]
"""A data identity that JSON holds in its own form."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of the two models' files, external data among them."""

    fp32: int
    int8: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """What INT8 costs, on one set of samples; `dataclasses.replace` adds latency and sizes.

    Attributes
    ----------
    samples
        How many were compared.
    metrics
        A score a metric, in the order asked for.
    agreement
        How often both networks choose the same class, and the samples where they do not.
    outputs
        Error of each output of the network, the logits among them.
    tensors
        Error of each inner tensor; empty without a probe.
    nan
        Samples with NaN among the outputs.
    backends
        What ran both networks.
    data
        The samples.
    chosen_on
        Every set that is known to have had a say in the INT8 network; empty if nobody knows any.
    final
        Whether the score may stand as the last word: it was asked for as that, it is known which sets had a say, none
        of the samples is in them, and they are no random numbers.
    level
        Nominal coverage of the intervals.
    latency, sizes
        None if not measured.
    """

    samples: int
    metrics: tuple[MetricScore, ...]
    agreement: Agreement
    outputs: tuple[TensorError, ...]
    tensors: tuple[TensorError, ...]
    nan: NanSamples
    backends: Backends
    data: _Identity
    chosen_on: tuple[_Identity, ...]
    final: bool
    level: float = 0.95
    latency: Latency | None = None
    sizes: Sizes | None = None

    @property
    def random(self) -> bool:
        """Whether the samples are random numbers and no data."""
        return self.data.random

    @property
    def doubt(self) -> str:
        """Why the score is not final, in words that go after «not final: »; empty if it is."""
        if self.final:
            return ""
        if self.random:
            return "random numbers, no data"
        return "for choosing only" if self.chosen_on else "the model does not tell which data chose its scales"

    @property
    def flips(self) -> tuple[Flip, ...]:
        """The samples for which the networks choose different classes."""
        return self.agreement.flips

    @property
    def agreement_interval(self) -> Interval:
        """Wilson's interval of the agreement."""
        return self.agreement.interval(self.level)

    def frame(self) -> "pd.DataFrame":
        """Return one line a tensor, the outputs first: SQNR in dB, cosine −1 … 1, errors in the tensor's unit."""
        return tensors_frame(self.outputs, self.tensors)

    def scores_frame(self) -> "pd.DataFrame":
        """Return one line a metric; `drop`, `low` and `high` are in `unit`."""
        return scores_frame(self.metrics)

    def flips_frame(self) -> "pd.DataFrame":
        """Return one line a sample for which the networks choose different classes."""
        return flips_frame(self.flips)

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        sets = {"data": self.data.to_json(), "chosen_on": [used.to_json() for used in self.chosen_on]}
        return to_json(self) | sets

    @classmethod
    def from_json(cls, value: object) -> "Comparison":
        """Read what `to_json` returned, as JSON values or as text.

        An artefact that calls a score final without telling which data chose the scales is read as not final: an
        earlier quantlab took the one for the other.

        Raises
        ------
        InputError
            When it is no comparison, or a field is missing, unknown or of another type.
        """
        found = from_json(cls, value)
        return replace(found, final=found.final and may_be_final(found.data, found.chosen_on))

    def _repr_html_(self) -> str:
        kind = "" if self.final else f", not final: {self.doubt}"
        lines = [
            f"{self.samples} samples of «{self.data.name}»{kind}",
            f"FP32: {self.backends.fp32}",
            f"INT8: {self.backends.int8}",
            *(f"SQNR of «{error.tensor}»: {error.sqnr_db:.2f} dB" for error in self.outputs),
        ]
        if self.agreement.samples:
            low, high = self.agreement_interval.low, self.agreement_interval.high
            lines.append(f"The same class: {self.agreement.score:.4f} ({low:.4f} … {high:.4f})")
        paragraph = "<br>".join(escape(line) for line in lines)
        return f"<p>{paragraph}</p>{self.scores_frame().to_html(escape=True, index=False)}"


@dataclass(frozen=True, slots=True, eq=False)
class CompareOptions:
    """How to compare.

    Attributes
    ----------
    final
        The score is to be the last word: a set that had a say in the scales is refused. False: it is for choosing.
    labels
        One a sample, in the data's order; None takes the data's own.
    probe
        Engines that show inner tensors, to compare these too.
    level
        Nominal coverage of the intervals.
    progress
        Told how far it is.
    """

    final: bool = True
    labels: AnyArray | None = None
    probe: TensorProbe | None = None
    level: float = 0.95
    progress: Progress | None = None


def compare(
    fp32: Engine,
    int8: Engine,
    data: Dataset | Iterable[Tensors],
    *,
    metrics: Iterable[Metric] = (TopK(1), TopK(5)),
    chosen_on: Iterable[DataIdentity] = (),
    options: CompareOptions | None = None,
) -> Comparison:
    """Return what INT8 costs on these samples; one pass, one batch in memory at a time.

    The result does not depend on how the samples are cut into batches, as far as the engines' own arithmetic does not.

    Parameters
    ----------
    fp32, int8
        Engines over the two networks, with the same inputs and outputs.
    data
        A data set, or any iterable of {input name: array}.
    metrics
        What to score; () asks for agreement and output errors only, which need no labels. Agreement is measured on
        the first metric's `output` that is named, else on the only output that can be class scores.
    chosen_on
        Further sets that had a say in the INT8 network. Those that the INT8 engine names as its `chosen_on`, and those
        behind the probe's scales, count anyway. Where none is known at all, the score is not final.

    Raises
    ------
    InputError
        When the score is to be final and the samples had a say; when the engines' inputs or outputs differ, labels
        are missing or do not fit, or there is no sample.
    """
    settings = options or CompareOptions()
    asked, source = tuple(metrics), LabelledBatches(data, settings.labels)
    _check_same("inputs", fp32.inputs, int8.inputs)
    _check_same("outputs", fp32.outputs, int8.outputs)
    sets = sets_with_a_say(chosen_on, int8, settings.probe)
    if source.total is not None and settings.final:
        check_unseen(source.data.identity, sets)
    seen = merge_all(_observed(fp32, int8, source, asked, settings))
    if seen is None:
        raise InputError("There is nothing to compare on: the data hold no sample.")
    identity = source.data.identity
    if settings.final:
        check_unseen(identity, sets)  # only now does a stream know what it was
    return Comparison(
        samples=seen.samples,
        metrics=tuple(
            MetricScore.of(metric, values, settings.level) for metric, values in zip(asked, seen.values, strict=True)
        ),
        agreement=seen.agreement,
        outputs=tuple(sums.error(name) for name, sums in seen.outputs.items()),
        tensors=tuple(sums.error(name) for name, sums in seen.tensors.items()),
        nan=seen.nan,
        backends=Backends.of(fp32, int8),
        data=identity,
        chosen_on=sets,
        final=settings.final and may_be_final(identity, sets),
        level=settings.level,
    )


def _observed(
    fp32: Engine, int8: Engine, source: LabelledBatches, metrics: tuple[Metric, ...], settings: CompareOptions
) -> Iterator[Observation]:
    done = 0
    for batch, labels in cut(source.batches(fp32.inputs), fixed_rows(fp32, int8)):
        _check_labels(metrics, labels)
        tensors = settings.probe.measure(batch) if settings.probe else {}
        answers = Answers(batch, labels, run_filled(fp32, batch), run_filled(int8, batch))
        try:
            yield answers.observe(metrics, tensors)
        except InputError as error:
            raise InputError(f"In the batch from {_named(batch, done)} on: {error}") from error
        done += batch.samples
        if settings.progress is not None:
            settings.progress(done, source.total)


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
