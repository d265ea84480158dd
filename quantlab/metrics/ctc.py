"""What a text recogniser reads: greedy decoding of its columns."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantlab.errors import InputError
from quantlab.metrics.outputs import the_output
from quantlab.numerics.arrays import AnyArray, Tensors


def read_classes(outputs: Tensors, output: str | None, blank: int) -> tuple[list[tuple[int, ...]], int]:
    """Return the classes that each sample's columns spell, repeats merged and then blanks dropped, and how many classes there are.

    Graves et al., «Connectionist temporal classification», ICML 2006, section 3.2 (best path decoding). Of equal scores
    the first class is chosen, of a column with NaN the first NaN.

    Parameters
    ----------
    outputs
        Among them scores [samples, columns, classes].
    output
        Their name; None takes the only one of three dimensions.
    blank
        The class of a column that says nothing.

    Raises
    ------
    InputError
        When no output can be told to be such scores, or the blank is no class.
    """
    scores = the_output(outputs, output, _three, "text scores [samples, columns, classes]")
    classes = scores.shape[2]
    if not 0 <= blank < classes:
        raise InputError(f"The blank is class {blank}, but the model has the classes 0 … {classes - 1}.")
    best = scores.argmax(axis=2)
    new = np.ones(best.shape, bool)
    new[:, 1:] = best[:, 1:] != best[:, :-1]
    kept = new & (best != blank)
    return [tuple(int(i) for i in row[there]) for row, there in zip(best, kept, strict=True)], classes


def spelt(words: list[tuple[int, ...]], classes: int, characters: tuple[str, ...], blank: int) -> list[str]:
    """Return the words as text.

    Parameters
    ----------
    characters
        Of all classes but the blank, in their order. A network with one class more ends with the space, which lists of
        PaddleOCR leave out (`use_space_char`).

    Raises
    ------
    InputError
        When there are not as many characters as classes.
    """
    if not characters:
        raise InputError(
            "Which characters the classes stand for is not known: the model's metadata have no `character`, so give a "
            "file with one a line, as in «word-accuracy:characters=dict.txt»."
        )
    every = (*characters, " ") if classes == len(characters) + 2 else characters
    if classes != len(every) + 1:
        raise InputError(
            f"There are {len(characters):,} characters for a model with {classes:,} classes, one of them the blank: give "
            f"{classes - 1:,}, or {classes - 2:,} and the last is the space."
        )
    table = (*every[:blank], "", *every[blank:])
    return ["".join(table[i] for i in word) for word in words]


def space_class(characters: tuple[str, ...], blank: int) -> int:
    """Return the class of the space: its own, or the one behind all characters where they lack it."""
    place = characters.index(" ") if " " in characters else len(characters)
    return place if place < blank else place + 1


def texts(labels: AnyArray | None, samples: int, name: str) -> NDArray[np.str_]:
    """Return the labels as text, one a sample.

    Raises
    ------
    InputError
        When they are missing, or no text; `name` is the metric's.
    """
    if labels is None:
        raise InputError(f"{name} needs labels, a text a sample.")
    found: NDArray[Any] = np.asarray(labels)
    if found.shape != (samples,) or found.dtype.kind != "U":
        raise InputError(f"{name} needs {samples} texts here as labels, not {found.dtype}{list(found.shape)}.")
    return found


def _three(values: AnyArray) -> bool:
    return values.ndim == 3 and values.shape[2] > 1 and values.dtype.kind in "fiu"
