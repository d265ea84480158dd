"""What a metric is: a value a sample, whose mean over the samples is the score."""

from typing import Any, Protocol

from quantlab.numerics.arrays import AnyArray, Tensors


class Metric(Protocol):
    """A value a sample, whose mean over the samples is the score.

    A metric of one's own is any object with these members (`ql.metric` makes one of a function). More are looked for:

    - `score(values) -> float` makes the score of the values where it is not their mean; the samples' order says nothing.
    - `needs_labels = False` says that `per_sample` can do with `labels=None`.
    - `per_pair(fp32, int8, labels)` stands in for `per_sample` where a value needs the outputs of both engines, as a
      cosine with FP32's embedding does. FP32's own values are `per_pair(fp32, fp32, labels)`.
    - `weighted(values)` returns a function of how often each sample counts, int64[samples], that gives the `score` of
      the samples so repeated: where sorting the values once makes a bootstrap affordable.
    - `in_points = True` says that the score is a share: what is lost is told in percentage points.
    - `output` names the output that it reads.
    """

    @property
    def name(self) -> str:
        """What people call it, for instance «top-1»."""
        ...

    @property
    def higher_is_better(self) -> bool:
        """False for errors and losses."""
        ...

    def per_sample(self, outputs: Tensors, labels: Any) -> AnyArray:
        """Return the finite values of one batch, [samples]; or [samples, …] where `score` makes one number of them.

        Parameters
        ----------
        outputs
            One engine's outputs by name, valid during the call only.
        labels
            The batch's labels, samples first; None if there are none.
        """
        ...
