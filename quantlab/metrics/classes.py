"""Class scores among a network's outputs, and the classes they choose."""

import numpy as np
from numpy.typing import NDArray

from quantlab.errors import InputError
from quantlab.metrics.outputs import listed
from quantlab.numerics.arrays import I64, AnyArray, Tensors

UNDECIDED = -1
"""The class that a row with NaN chooses: none."""


def find_class_scores(outputs: Tensors, output: str | None) -> AnyArray | None:
    """Return the scores [samples, classes]: those of the named output, or of the only one that can be scores.

    That is an output with one dimension of two or more beside the samples', such as [n, 1000] or [n, 1000, 1, 1].
    None where no output is named, and none or several can be.

    Raises
    ------
    InputError
        When the named output does not exist, or cannot be class scores.
    """
    if output is None:
        found = [name for name, values in outputs.items() if _classes(values)]
        return _scores(outputs[found[0]]) if len(found) == 1 else None
    if output not in outputs:
        raise InputError(f"The model has no output «{output}»; it has {listed(outputs)}.")
    if not _classes(outputs[output]):
        raise InputError(f"Output «{output}» is {list(outputs[output].shape)} and no class scores [samples, classes].")
    return _scores(outputs[output])


def class_scores(outputs: Tensors, output: str | None) -> AnyArray:
    """Return the scores [samples, classes] as `find_class_scores` does.

    Raises
    ------
    InputError
        When none can be told to be class scores.
    """
    scores = find_class_scores(outputs, output)
    if scores is None:
        raise InputError(
            f"Which output holds the class scores [samples, classes] cannot be told from {listed(outputs)}: name it, "
            "as in TopK(1, output=…), or give metrics that fit the model."
        )
    return scores


def chosen_classes(scores: AnyArray) -> I64:
    """Return the class with the largest score, the first of equals; −1 for a row with NaN."""
    broken = np.isnan(scores).any(axis=1)
    return np.where(broken, UNDECIDED, np.argmax(scores, axis=1)).astype(np.int64)


def among_top(scores: AnyArray, labels: I64, k: int) -> NDArray[np.bool_]:
    """Return whether each label is among the k largest scores; of equals the first is the larger, NaN makes it wrong."""
    wanted = scores[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    rank = np.sum((scores > wanted) | ((scores == wanted) & earlier), axis=1)
    return (rank < k) & ~np.isnan(scores).any(axis=1)


def checked_labels(labels: AnyArray, scores: AnyArray) -> I64:
    """Return the labels as indices of the scores' classes.

    Raises
    ------
    InputError
        When they are no integers, not one a sample, or outside the classes.
    """
    samples, classes = scores.shape
    array = np.asarray(labels)
    if array.shape != (samples,) or array.dtype.kind not in "iu":
        raise InputError(
            f"Labels are one whole number a sample, int64[{samples}] here, not {array.dtype}{list(array.shape)}."
        )
    outside = np.flatnonzero((array < 0) | (array >= classes))
    if outside.size:
        raise InputError(
            f"Sample {outside[0]} of the batch has the label {array[outside[0]]}, but the model has the classes "
            f"0 … {classes - 1}: give the labels in the model's own order."
        )
    return array.astype(np.int64)


def _classes(values: AnyArray) -> bool:
    wide = [size for size in values.shape[1:] if size > 1]
    return len(wide) == 1 and values.dtype.kind in "fiu"


def _scores(values: AnyArray) -> AnyArray:
    return values.reshape(len(values), max(values.shape[1:]))
