"""The label and the chosen class of each sample, from which every score of classes follows."""

import numpy as np

from quantlab.errors import InputError
from quantlab.metrics.classes import checked_labels, chosen_classes, class_scores
from quantlab.numerics.arrays import F64, AnyArray, Tensors


def labels_and_choices(outputs: Tensors, labels: AnyArray | None, output: str | None, name: str) -> F64:
    """Return (label, chosen class) of each sample, float64[samples, 2]; a row of scores with NaN chooses −1.

    Raises
    ------
    InputError
        When labels are missing or do not fit the classes, or no output can be told to be class scores; `name` is the
        metric's, for the message.
    """
    if labels is None:
        raise InputError(f"{name} needs labels.")
    scores = class_scores(outputs, output)
    return np.stack([checked_labels(labels, scores), chosen_classes(scores)], axis=1).astype(np.float64)
