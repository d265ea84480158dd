"""Whether both networks choose the same class, and the samples on which they do not."""

from dataclasses import dataclass

import numpy as np

from quantlab.comparison.statistics import Interval, wilson
from quantlab.metrics.classes import UNDECIDED
from quantlab.numerics.arrays import I64, AnyArray


@dataclass(frozen=True, slots=True)
class Flip:
    """A sample for which INT8 chooses another class than FP32.

    Attributes
    ----------
    index
        Place in the data, from 0.
    name
        The sample's name; empty if it has none.
    label
        None without labels.
    fp32, int8
        The classes chosen, from 0; −1 is none, for scores with NaN.
    """

    index: int
    name: str
    label: int | None
    fp32: int
    int8: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often both networks choose the same class.

    Attributes
    ----------
    agreed, samples
        Samples alike, and all; 0 of 0 where no output holds class scores.
    flips
        The others, in the data's order.
    """

    agreed: int = 0
    samples: int = 0
    flips: tuple[Flip, ...] = ()

    @classmethod
    def of(cls, fp32: I64, int8: I64, labels: AnyArray | None = None, names: tuple[str, ...] = ()) -> "Agreement":
        """Return how far the classes chosen for one batch agree; a sample for which one chooses none does not."""
        other = np.flatnonzero((fp32 != int8) | (fp32 == UNDECIDED))
        known = labels is not None and labels.ndim == 1 and labels.dtype.kind in "iu"
        flips = tuple(
            Flip(
                int(i),
                printable(names[i]) if names else "",
                int(labels[i]) if known and labels is not None else None,
                int(fp32[i]),
                int(int8[i]),
            )
            for i in other
        )
        return cls(len(fp32) - len(flips), len(fp32), flips)

    def merge(self, other: "Agreement", *, offset: int | None = None) -> "Agreement":
        """Return the agreement over both sets, this one's samples first.

        Parameters
        ----------
        offset
            How many samples precede the other's; by default this one's.
        """
        before = self.samples if offset is None else offset
        moved = tuple(Flip(f.index + before, f.name, f.label, f.fp32, f.int8) for f in other.flips)
        return Agreement(self.agreed + other.agreed, self.samples + other.samples, self.flips + moved)

    @property
    def score(self) -> float:
        """The share, 0 … 1; NaN of no samples."""
        return self.agreed / self.samples if self.samples else float("nan")

    def interval(self, level: float = 0.95) -> Interval:
        """Return Wilson's interval of the share."""
        return wilson(self.agreed, self.samples, level)


def printable(name: str) -> str:
    """Return a sample's name as text: a file name may hold bytes that are none, which JSON and HTML do not take."""
    return name.encode("utf-8", "backslashreplace").decode()
