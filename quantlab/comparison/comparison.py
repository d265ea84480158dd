"""FP32 and INT8 on the same samples, in one pass: scores, agreement, tensor errors, and how sure they are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import PlainValidator

from quantlab.calibration.provenance import DataIdentity
from quantlab.comparison.agreement import Agreement, Flip
from quantlab.comparison.backends import Backends
from quantlab.comparison.finality import check_unseen, may_be_final, sets_with_a_say
from quantlab.comparison.frames import flips_frame, scores_frame, tensors_frame
from quantlab.comparison.labelled import LabelledBatches
from quantlab.comparison.latency import Latency
from quantlab.comparison.metric_score import MetricScore
from quantlab.comparison.observation import NanSamples, Observation
from quantlab.comparison.one_pass import Observes, Pair, Progress, observe
from quantlab.comparison.sample_pictures import add_pictures
from quantlab.comparison.sample_table import InMemory, SamplesFile
from quantlab.comparison.statistics import Interval
from quantlab.comparison.tensors import TensorError, TensorProbe
from quantlab.data.batch import Dataset
from quantlab.engines.engine import Engine
from quantlab.metrics.labels import Labels
from quantlab.metrics.metric import Metric
from quantlab.metrics.top_k import TopK
from quantlab.numerics.arrays import AnyArray, Tensors
from quantlab.storage.dataclass_json import Form

if TYPE_CHECKING:
    import pandas as pd

FORM = Form("quantlab-comparison", "comparison", "compare again")

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
    samples_file
        Where the results of every sample are; None if they were not written. `read_samples` reads them.
    samples_table
        The results of every sample, where they are in memory: after `compare`, then with pictures of those that
        changed where the data have any. JSON does not hold them.
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
    samples_file: SamplesFile | None = None
    samples_table: InMemory = field(default=None, compare=False, repr=False)

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
        """Return all fields as JSON values, but for the table of samples."""
        sets = {"data": self.data.to_json(), "chosen_on": [used.to_json() for used in self.chosen_on]}
        found = FORM.write(self.without_samples()) | sets
        del found["samples_table"]
        return found

    def without_samples(self) -> "Comparison":
        """Return the comparison without what is in memory only."""
        return replace(self, samples_table=None)

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
        found = FORM.read(cls, value)
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
        One a sample, in the data's order, or `Labels` that find theirs by name; None takes the data's own.
    probe
        Engines that show inner tensors, to compare these too.
    level
        Nominal coverage of the intervals.
    progress
        Told how far it is.
    on
        Workers that share the samples, `ql.processes(4)` or `ql.ray(workers=4)`; None runs in this process. The bits are the
        same.
    """

    final: bool = True
    labels: AnyArray | Labels | None = None
    probe: TensorProbe | None = None
    level: float = 0.95
    progress: Progress | None = None
    on: Observes | None = None


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
    pairs = {"": Pair(fp32, int8, settings.probe)}
    found = compare_pairs(pairs, data, metrics=metrics, chosen_on=chosen_on, options=settings)[""]
    table = found.samples_table
    return found if table is None else replace(found, samples_table=add_pictures(table, data))


def compare_pairs(
    pairs: Mapping[str, Pair],
    data: Dataset | Iterable[Tensors],
    *,
    metrics: Iterable[Metric],
    chosen_on: Iterable[DataIdentity] = (),
    options: CompareOptions,
) -> dict[str, Comparison]:
    """Return the comparison of each pair by its name, all from one pass; see `compare`.

    The options' own probe is not looked at: each pair has its own.
    """
    asked, given = tuple(metrics), tuple(chosen_on)
    source = LabelledBatches(data, options.labels)
    sets = {name: sets_with_a_say(given, pair.int8, pair.probe) for name, pair in pairs.items()}
    if source.total is not None and options.final:
        check_unseen(source.data.identity, *sets.values())
    if options.on is None:
        seen = observe(pairs, source, asked, options.progress)
    else:
        seen = options.on.observe(pairs, source.data, options.labels, asked, options.progress)
    identity = source.data.identity
    if options.final:
        check_unseen(identity, *sets.values())  # only now does a stream know what it was
    return {name: _comparison(seen[name], pair, asked, (identity, sets[name]), options) for name, pair in pairs.items()}


def _comparison(
    seen: Observation,
    pair: Pair,
    metrics: tuple[Metric, ...],
    sets: tuple[DataIdentity, tuple[DataIdentity, ...]],
    options: CompareOptions,
) -> Comparison:
    identity, chosen_on = sets
    places = pair.probe.places if pair.probe else {}
    return Comparison(
        samples=seen.samples,
        metrics=tuple(
            MetricScore.of(metric, values, options.level) for metric, values in zip(metrics, seen.values, strict=True)
        ),
        agreement=seen.agreement,
        outputs=tuple(sums.error(name, places.get(name)) for name, sums in seen.outputs.items()),
        tensors=tuple(sums.error(name, places.get(name)) for name, sums in seen.tensors.items()),
        nan=seen.nan,
        backends=Backends.of(pair.fp32, pair.int8),
        data=identity,
        chosen_on=chosen_on,
        final=options.final and may_be_final(identity, chosen_on),
        level=options.level,
        samples_table=seen.table,
    )
