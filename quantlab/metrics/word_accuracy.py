"""Words that a text recogniser reads right, or as its FP32 twin does."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from quantlab.metrics.ctc import read_classes, spelt, texts
from quantlab.numerics.arrays import AnyArray, Tensors


@dataclass(frozen=True, slots=True)
class WordAccuracy:
    """Share of the samples whose text is read as it was written; spaces around it do not count.

    Attributes
    ----------
    characters
        Of all classes but the blank, in their order (`ctc.spelt`).
    blank
        The class of a column that says nothing.
    output
        The scores [samples, columns, classes]; None takes the only output of three dimensions.
    """

    characters: tuple[str, ...] = ()
    blank: int = 0
    output: str | None = None
    in_points: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """«word accuracy»."""
        return "word accuracy"

    @property
    def higher_is_better(self) -> bool:
        """True."""
        return True

    def per_sample(self, outputs: Tensors, labels: AnyArray | None) -> NDArray[np.bool_]:
        """Return whether each text is right, bool[samples]; `labels` are texts, str[samples].

        Raises
        ------
        InputError
            When labels are missing or no text, or output or characters do not fit.
        """
        words, classes = read_classes(outputs, self.output, self.blank)
        real = texts(labels, len(words), self.name)
        read = spelt(words, classes, self.characters, self.blank)
        return np.array([one.strip() == str(two).strip() for one, two in zip(read, real, strict=True)], bool)


@dataclass(frozen=True, slots=True)
class SameWords:
    """Share of the samples that are read class by class as FP32 reads them; no labels and no characters are needed.

    Attributes
    ----------
    blank, output
        As for `WordAccuracy`.
    space
        The class of the space, which does not count at both ends of a text; None counts every class.
    """

    blank: int = 0
    output: str | None = None
    space: int | None = None
    in_points: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """«words read as FP32 does»."""
        return "words read as FP32 does"

    @property
    def higher_is_better(self) -> bool:
        """True."""
        return True

    @property
    def needs_labels(self) -> bool:
        """False."""
        return False

    def per_sample(self, outputs: Tensors, labels: AnyArray | None) -> AnyArray:
        """Return the values of one engine against itself: all 1."""
        return self.per_pair(outputs, outputs, labels)

    def per_pair(self, fp32: Tensors, int8: Tensors, _labels: AnyArray | None) -> NDArray[np.bool_]:
        """Return bool[samples].

        Raises
        ------
        InputError
            When no output can be told to be text scores.
        """
        exact, got = (self._read(outputs) for outputs in (fp32, int8))
        return np.array([one == two for one, two in zip(exact, got, strict=True)], bool)

    def _read(self, outputs: Tensors) -> list[tuple[int, ...]]:
        words, _ = read_classes(outputs, self.output, self.blank)
        return [_stripped(word, self.space) for word in words]


def _stripped(word: tuple[int, ...], space: int | None) -> tuple[int, ...]:
    kept = [place for place, each in enumerate(word) if each != space]
    return word[kept[0] : kept[-1] + 1] if kept else ()
