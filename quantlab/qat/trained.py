"""The outcome of a training: how it went, and the module that holds its weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from torch import nn

from quantlab.numerics.markup import card, frame_table

if TYPE_CHECKING:
    import pandas as pd

Ending: TypeAlias = Literal["steps", "target", "patience", "callback"]


@dataclass(frozen=True, slots=True)
class Moment:
    """A stretch of training and what came of it.

    Attributes
    ----------
    step
        Steps done.
    epoch
        From 0.
    loss
        Mean over the steps since the moment before.
    rate
        Learning rate of the weights in the last step.
    metric
        What `evaluate` said; None without it.
    """

    step: int
    epoch: int
    loss: float
    rate: float
    metric: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What `train` did.

    Attributes
    ----------
    module
        The one given, with its final weights, in evaluation mode.
    history
        A line each time the module was evaluated, or an epoch ended.
    steps
        Done in all.
    ending
        What ended it.
    metric
        Of the weights that were kept; None without `evaluate`.
    seconds
        In this process.
    resumed_at
        The step of the checkpoint from which it went on; None if it began anew.
    """

    module: nn.Module
    history: tuple[Moment, ...]
    steps: int
    ending: Ending
    metric: float | None
    seconds: float
    resumed_at: int | None

    def frame(self) -> pd.DataFrame:
        """Return the history as a table."""
        import pandas as pd

        return pd.DataFrame([asdict(moment) for moment in self.history])

    def _repr_html_(self) -> str:
        facts = {"steps": self.steps, "ended by": self.ending, "metric": self.metric, "seconds": self.seconds}
        return card("Trained", facts, more=frame_table(self.frame()))
