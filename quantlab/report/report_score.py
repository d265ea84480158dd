"""FP32 beside INT8 on one set, and a calibration method's score: what ladder, verdict and tables read."""

from dataclasses import dataclass

from quantlab.comparison.comparison import Comparison, Sizes
from quantlab.comparison.latency import Latency
from quantlab.comparison.metric_score import MetricScore
from quantlab.report.searched import CHANGED, Search


@dataclass(frozen=True, slots=True)
class Score:
    """FP32 beside INT8 on one set.

    Attributes
    ----------
    model
        What was run, for instance «Q/DQ model».
    backend
        What ran INT8.
    data
        The set's name.
    samples
        How many.
    final
        Whether the set is known to have had no say in the scales.
    metrics
        The main one first; empty without labels.
    agreement
        Share of samples for which both choose the same class; None where nothing is chosen.
    output_db
        SQNR of the network's outputs, the lowest of several.
    nan
        Samples with NaN among INT8's outputs.
    latency
        None if not measured.
    untold
        Whether nothing tells which data chose the scales.
    sized
        Bytes of both models' files; None if not known.
    """

    model: str
    backend: str
    data: str
    samples: int
    final: bool = True
    metrics: tuple[MetricScore, ...] = ()
    agreement: float | None = None
    output_db: float | None = None
    nan: int = 0
    latency: Latency | None = None
    untold: bool = False
    sized: Sizes | None = None

    @classmethod
    def of(cls, model: str, found: Comparison) -> "Score":
        """Return what a comparison says."""
        return cls(
            model,
            found.backends.int8,
            found.data.name,
            found.samples,
            found.final,
            found.metrics,
            found.agreement.score if found.agreement.samples else None,
            min((error.sqnr_db for error in found.outputs), default=None),
            found.nan.int8,
            found.latency,
            not found.chosen_on,
            found.sizes,
        )

    @classmethod
    def of_search(cls, found: Search) -> "Score":
        """Return a search's last word, else what its best has on the samples that chose it.

        A metric without shares is left out: the search keeps no score of it but the drop.
        """
        score = found.final or found.score
        metrics: tuple[MetricScore, ...] = ()
        if score.drop is not None and score.interval is not None and score.fp32 is not None and score.metric != CHANGED:
            int8 = score.fp32 - score.drop / 100
            metrics = (
                MetricScore(score.metric, score.fp32, int8, score.drop, "points", score.interval, None, None, None),
            )
        name = "evaluation" if found.final else "tuning"
        final = found.final is not None
        return cls("Q/DQ model", "", name, score.samples, final, metrics, score.agreement, score.worst_db)

    @property
    def main(self) -> MetricScore | None:
        """The metric that the verdict is about."""
        return self.metrics[0] if self.metrics else None


@dataclass(frozen=True, slots=True)
class MethodRow:
    """A calibration method: its score on the tuning set, and the median of its tensors' expected SQNR."""

    name: str
    parameters: str
    chosen: bool
    tensors: int
    score: Score | None
    median_expected_db: float | None
