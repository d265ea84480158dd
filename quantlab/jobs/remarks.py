"""What every step says of the data behind its scales: that they were random numbers, or prepared in another way."""

import json
from collections.abc import Iterable

import onnx

from quantlab.calibration.provenance import DataIdentity
from quantlab.calibration.scale_table import ScaleTable
from quantlab.comparison.comparison import Comparison
from quantlab.jobs.differences import option_differences

_LISTED = 3


def on_table(table: ScaleTable) -> tuple[str, ...]:
    """Return what has to be said of a table's data."""
    return on_sets(table.provenance.chosen_on if table.provenance else ())


def on_sets(chosen_on: Iterable[DataIdentity]) -> tuple[str, ...]:
    """Return what has to be said of the sets that had a say; the same words in every step."""
    named = dict.fromkeys(f"«{data.name}», {data.count:,} samples" for data in chosen_on if data.random)
    return (f"The scales were calibrated on random data: {'; '.join(named)}.",) if named else ()


def on_preprocessing(data: DataIdentity, chosen_on: Iterable[DataIdentity]) -> tuple[str, ...]:
    """Return a sentence if a set behind the scales was prepared in another way than the data."""
    if data.random:
        return ()
    now = _plain(data)
    for used in chosen_on:
        then = _plain(used)
        if then and then != now:
            if not now:
                return (f"The scales were made with another preprocessing: «{data.name}» declares none.",)
            found = option_differences(then, now)
            more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
            return (f"The scales were made with another preprocessing: {', '.join(found[:_LISTED])}{more}.",)
    return ()


def on_chance(network: onnx.ModelProto, found: Comparison | None) -> tuple[str, ...]:
    """Return a sentence if FP32 itself does little better than guessing a class: then it is not INT8 that loses.

    Little: less than a fifth of the way from one class in n to all right.
    """
    top = None if found is None else next((metric for metric in found.metrics if metric.name == "top-1"), None)
    shapes = [value.type.tensor_type.shape.dim for value in network.graph.output]
    classes = shapes[0][-1].dim_value if len(shapes) == 1 and len(shapes[0]) > 1 else 0
    if top is None or classes < 2:
        return ()
    guessing = 1 / classes
    if top.fp32 >= guessing + (1 - guessing) / 5:
        return ()
    scores = f"only {100 * top.fp32:.2f} % top-1 on {classes:,} classes, where guessing has {100 * guessing:.2f} %"
    asked = "is the preprocessing the one that the network was trained with, and do the labels count its classes?"
    return (f"FP32 itself has {scores}: {asked}",)


def _plain(data: DataIdentity) -> dict[str, object]:
    """Return the preprocessing as it is read back from a file: tuples are lists."""
    plain: dict[str, object] = json.loads(json.dumps(data.preprocess))
    return plain
