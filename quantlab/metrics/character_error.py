"""Character error rate of a text recogniser."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from quantlab.metrics.ctc import read_classes, spelt, texts
from quantlab.numerics.arrays import F64, AnyArray, Tensors


@dataclass(frozen=True, slots=True)
class CharacterError:
    """Characters to insert, drop or replace (Levenshtein, Soviet Physics Doklady 10, 1966) a character that was written.

    Of all samples together, so a long text counts more than a short one. Spaces around a text do not count.

    Attributes
    ----------
    characters, blank, output
        As for `WordAccuracy`.
    """

    characters: tuple[str, ...] = ()
    blank: int = 0
    output: str | None = None
    in_points: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """«character error rate»."""
        return "character error rate"

    @property
    def higher_is_better(self) -> bool:
        """False."""
        return False

    def per_sample(self, outputs: Tensors, labels: AnyArray | None) -> F64:
        """Return (characters wrong, characters written) of each sample, float64[samples, 2]; `labels` are str[samples].

        Raises
        ------
        InputError
            When labels are missing or no text, or output or characters do not fit.
        """
        words, classes = read_classes(outputs, self.output, self.blank)
        real = texts(labels, len(words), self.name)
        pairs = zip(spelt(words, classes, self.characters, self.blank), real, strict=True)
        rows = [(edits(read.strip(), str(written).strip()), len(str(written).strip())) for read, written in pairs]
        return np.array(rows, np.float64).reshape(-1, 2)

    def score(self, values: AnyArray) -> float:
        """Return the rate, 0 or more; NaN where nothing was written."""
        wrong, written = values.sum(axis=0)
        return float(wrong / written) if written else float("nan")


def edits(one: str, two: str) -> int:
    """Return the least number of characters to insert, drop or replace that makes one text the other."""
    row = list(range(len(two) + 1))
    for above, mine in enumerate(one):
        before, row[0] = row[0], above + 1
        for j, other in enumerate(two, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (mine != other))
    return row[-1]
