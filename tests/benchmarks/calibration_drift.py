"""How far calibration sets of one kind are apart, and of two: `python -m tests.benchmarks.calibration_drift`; some minutes.

The bounds in `quantlab.regression.scale_drift` rest on these figures. Networks whose files `tests.benchmarks.tuning.prepare` has
not made are left out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np

import quantlab as ql
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.data.batch import Dataset
from quantlab.errors import QuantlabError
from quantlab.numerics.arrays import AnyArray
from quantlab.regression.scale_drift import other_data
from tests.benchmarks.figures import write_figures
from tests.benchmarks.regression import SHIPPED, Fashion, Figures
from tests.benchmarks.tuning.subjects import open_subject

SUBJECTS = ("fashion", "digits10", "lite0", "lite1", "yolo", "minilm", "ocr")
SAMPLES, PARTS, SPLITS = 256, 8, 12
METHODS: Mapping[str, Any] = {
    "minmax": ql.MinMax(),
    "percentile:99.99": ql.Percentile(99.99),
    "percentile:99.999": ql.Percentile(99.999),
    "entropy": ql.Entropy(),
    "squared-error": ql.SquaredError(),
}


def counted(model: Path, batches: Iterable[Mapping[str, AnyArray]]) -> HistogramSet:
    with ql.engines.ort(model, expose="quantizable", threads=1) as engine:
        return ql.collect(engine, [dict(batch) for batch in batches])


def distance(one: HistogramSet, two: HistogramSet) -> float:
    found = other_data(one, two)
    return float("nan") if found is None else found.distance


def halves(name: str) -> list[float]:
    """Return the distance of random halves of a network's calibration data, which are cut into eight parts."""
    subject = open_subject(name)
    rows = list(islice(_rows(subject.calibration), SAMPLES))
    draw = np.random.default_rng(0)
    parts = [
        counted(subject.model, [rows[i] for i in part]) for part in np.array_split(draw.permutation(len(rows)), PARTS)
    ]
    orders = [draw.permutation(PARTS) for _ in range(SPLITS)]
    return [distance(_merged(parts, order[: PARTS // 2]), _merged(parts, order[PARTS // 2 :])) for order in orders]


def moves(one: HistogramSet, two: HistogramSet, method: Any) -> tuple[float, float]:
    """Return the largest ratio of a tensor's scale, and the median tensor's |log2|."""
    ours, theirs = ql.calibrate(one, method), ql.calibrate(two, method)
    logs = [abs(float(np.log2(theirs[name].scale[0] / ours[name].scale[0]))) for name in ours]
    return 2 ** max(logs), float(np.median(logs))


def fashion_figures(folder: Path) -> Figures:
    """Return what disjoint sets of the shipped training images, and sets of one class, show."""
    data = Fashion(folder)
    model = SHIPPED / "fashion_net.onnx"
    large = [counted(model, data.part(number)()) for number in range(5)]
    small = [counted(model, data.chosen(f"small {i}", data.order[100 * i : 100 * i + 100])()) for i in range(30)]
    classes = [counted(model, data.one_class(label)()) for label in range(10)]
    pairs = {
        "10 pairs of disjoint sets of 512": [*combinations(large, 2)],
        "145 pairs of disjoint sets of 100": [
            pair for i, one in enumerate(small) for pair in zip([one] * 5, small[i + 1 :], strict=False)
        ],
        "a set of 512 beside 300 of one class, 10 classes": [(large[0], found) for found in classes],
    }
    figures: Figures = {}
    for name, sets in pairs.items():
        figures[f"FashionNet, {name}: distance"] = _range([distance(*pair) for pair in sets], "bits a sample")
        for method, chosen in METHODS.items():
            found = [moves(*pair, chosen) for pair in sets]
            figures[f"FashionNet, {name}, {method}: largest ratio of a scale"] = _range(
                [largest for largest, _ in found], "times"
            )
            figures[f"FashionNet, {name}, {method}: median |log2| of the scales' ratios"] = _range(
                [middle for _, middle in found], ""
            )
    return figures


def main() -> None:
    figures: Figures = {}
    for name in SUBJECTS:
        figures[f"{name}: distance of random halves"] = _halves_figure(name)
    with tempfile.TemporaryDirectory() as folder:
        figures |= fashion_figures(Path(folder))
    write_figures("calibration_drift", "python -m tests.benchmarks.calibration_drift", figures)


def _halves_figure(name: str) -> tuple[str, str]:
    try:
        return _range(halves(name), f"bits a sample, {SPLITS} splits")
    except QuantlabError as error:
        return "not measured", str(error)


def _rows(data: Dataset) -> Iterator[dict[str, AnyArray]]:
    for batch in data:
        if batch.rows is None:
            yield dict(batch)
        else:
            yield from ({name: values[i : i + 1] for name, values in batch.items()} for i in range(batch.rows))


def _merged(parts: Sequence[HistogramSet], order: AnyArray) -> HistogramSet:
    whole = parts[order[0]]
    for i in order[1:]:
        whole = whole.merge(parts[i])
    return whole


def _range(values: Sequence[float], unit: str) -> tuple[str, str]:
    return f"{min(values):.3g} … {max(values):.3g}", unit


if __name__ == "__main__":
    main()
