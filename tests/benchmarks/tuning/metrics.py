"""What an INT8 network keeps of its FP32 twin's answers, where there is no class label: words and embeddings.

Every metric takes the outputs of both networks on the same samples, in the same order, as {name: array}.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from quantlab.errors import InputError
from quantlab.numerics.arrays import F32, F64, I64, AnyArray, Tensors

BLANK = 0
"""The class of a recogniser's column that says nothing."""


class PairMetric(Protocol):
    """A value a sample, of the FP32 and the INT8 network's outputs together; their mean is the score."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def higher_is_better(self) -> bool:
        """False for errors and losses."""
        ...

    def per_sample(self, fp32: Tensors, int8: Tensors) -> AnyArray:
        """Return the finite values of the samples, [samples]."""
        ...


class SetMetric(Protocol):
    """One number of a whole set's outputs."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def higher_is_better(self) -> bool:
        """False for errors and losses."""
        ...

    def score(self, fp32: Tensors, int8: Tensors) -> float:
        """Return the score of `int8`; with `fp32` twice, that of the float network."""
        ...


@dataclass(frozen=True, slots=True)
class SameClass:
    """Whether both networks choose the same class, where samples are rows of scores [samples, classes]."""

    output: str
    name: str = "same class as FP32"
    higher_is_better: bool = True

    def per_sample(self, fp32: Tensors, int8: Tensors) -> AnyArray:
        """Return bool[samples]."""
        exact, got = outputs_of(self.output, fp32, int8)
        return np.asarray(exact.argmax(axis=1) == got.argmax(axis=1))


@dataclass(frozen=True, slots=True)
class SameWords:
    """Whether a text recogniser reads the same characters, from scores [samples, columns, characters].

    Attributes
    ----------
    space
        The class of the space; spaces at both ends of a line are left out then. None counts every character.
    """

    output: str
    space: int | None = None
    higher_is_better: bool = True

    @property
    def name(self) -> str:
        """«words read as in FP32», and whether the spaces around them count."""
        return "words read as in FP32" + (", spaces around them too" if self.space is None else "")

    def per_sample(self, fp32: Tensors, int8: Tensors) -> AnyArray:
        """Return bool[samples]."""
        exact, got = outputs_of(self.output, fp32, int8)
        pairs = zip(read_columns(exact), read_columns(got), strict=True)
        return np.array([stripped(a, self.space) == stripped(b, self.space) for a, b in pairs], bool)


@dataclass(frozen=True, slots=True)
class ExactWords:
    """Share of the samples that are read as they were written; `fp32` is not looked at.

    Attributes
    ----------
    texts
        What was written, a sample each.
    characters
        The network's characters from class 1 on.
    """

    output: str
    texts: tuple[str, ...]
    characters: tuple[str, ...]
    name: str = "words read right"
    higher_is_better: bool = True

    def score(self, fp32: Tensors, int8: Tensors) -> float:
        """Return the share, 0 … 1; spaces around the words do not count."""
        outputs_of(self.output, fp32, int8)
        read = ["".join(self.characters[i - 1] for i in word) for word in read_columns(int8[self.output])]
        pairs = zip(read, self.texts, strict=True)
        return float(np.mean([a.strip() == b.strip() for a, b in pairs]))


@dataclass(frozen=True, slots=True)
class EmbeddingCosine:
    """Cosine between both networks' embeddings, [samples, dimensions]."""

    output: str
    name: str = "cosine with FP32's embedding"
    higher_is_better: bool = True

    def per_sample(self, fp32: Tensors, int8: Tensors) -> AnyArray:
        """Return float64[samples], −1 … 1; 0 where an embedding is all zeros."""
        exact, got = (_unit(values) for values in outputs_of(self.output, fp32, int8))
        return np.asarray(np.sum(exact * got, axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class HumanSimilarity:
    """Pearson correlation of the documents' cosines with people's judgements; `fp32` is not looked at.

    Attributes
    ----------
    human
        float64[documents, documents], of which the part above the diagonal counts, each pair once.
    """

    output: str
    human: F64
    name: str = "Pearson with people"
    higher_is_better: bool = True

    def score(self, fp32: Tensors, int8: Tensors) -> float:
        """Return the correlation, −1 … 1.

        Raises
        ------
        InputError
            When there are not as many embeddings as documents, or all cosines are the same.
        """
        _, got = outputs_of(self.output, fp32, int8)
        if self.human.shape != (len(got), len(got)):
            raise InputError(f"There are {len(got)} embeddings, but judgements {list(self.human.shape)}.")
        unit = _unit(got)
        above = np.triu_indices(len(got), 1)
        return pearson((unit @ unit.T)[above], self.human[above])


def read_columns(scores: F32) -> list[tuple[int, ...]]:
    """Return the classes that each sample's columns spell: repeats merged, then blanks dropped (greedy CTC decoding).

    Graves et al., «Connectionist temporal classification», ICML 2006, section 3.2 (best path).

    Parameters
    ----------
    scores
        [samples, columns, classes]; of equals the first class counts.

    Raises
    ------
    InputError
        When they have another shape.
    """
    if scores.ndim != 3:
        raise InputError(f"A recogniser's scores are [samples, columns, classes], not {list(scores.shape)}.")
    best: I64 = scores.argmax(axis=2)
    new = np.ones(best.shape, bool)
    new[:, 1:] = best[:, 1:] != best[:, :-1]
    kept = new & (best != BLANK)
    return [tuple(int(i) for i in row[there]) for row, there in zip(best, kept, strict=True)]


def stripped(word: tuple[int, ...], space: int | None) -> tuple[int, ...]:
    """Return a word without the spaces at its ends."""
    kept = [place for place, symbol in enumerate(word) if symbol != space]
    return word[kept[0] : kept[-1] + 1] if kept else ()


def pearson(one: F64, other: F64) -> float:
    """Return the correlation of two vectors, −1 … 1.

    Raises
    ------
    InputError
        When they differ in length, have fewer than two values, or one of them is constant.
    """
    if one.shape != other.shape or one.size < 2:
        raise InputError(
            f"A correlation needs two or more pairs, not {list(one.shape)} and {list(other.shape)} values."
        )
    x, y = (values.astype(np.float64) - values.mean(dtype=np.float64) for values in (one, other))
    length = np.sqrt(x @ x) * np.sqrt(y @ y)
    if not length > 0:
        raise InputError("A correlation needs values that vary, but one side is constant.")
    return float(x @ y / length)


def outputs_of(output: str, fp32: Tensors, int8: Tensors) -> tuple[AnyArray, AnyArray]:
    """Return one output of both networks.

    Raises
    ------
    InputError
        When one lacks it, or the shapes differ.
    """
    exact, got = output_of(output, fp32), output_of(output, int8)
    if exact.shape != got.shape:
        raise InputError(f"Output «{output}» is {list(exact.shape)} in FP32 and {list(got.shape)} in INT8.")
    return exact, got


def output_of(output: str, outputs: Tensors) -> AnyArray:
    """Return the output of a name; its absence is an InputError."""
    if output not in outputs:
        raise InputError(f"There is no output «{output}»; there is {', '.join(outputs) or 'nothing'}.")
    return outputs[output]


def _unit(rows: AnyArray) -> F64:
    values = rows.astype(np.float64)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(values, length, out=np.zeros_like(values), where=length > 0)
