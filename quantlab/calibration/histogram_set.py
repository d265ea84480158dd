"""The histograms of one collection run: what was counted, on which data, for which model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import nan
from typing import TYPE_CHECKING, Any

from quantlab.calibration.provenance import DataIdentity, Provenance
from quantlab.calibration.scale_table import Shape
from quantlab.errors import InputError, StaleError
from quantlab.numerics.histogram import Histogram
from quantlab.numerics.markup import card, frame_table
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram

if TYPE_CHECKING:
    import pandas as pd

_SIZING = ("resize", "crop")
"""What of a preprocessing says how large a sample becomes."""

_COLUMNS = ("tensor", "shape", "values", "zeros", "low", "high", "amax", "nonfinite", "derived_from")


@dataclass(frozen=True, slots=True)
class HistogramSet(Mapping[str, "Histogram | TensorRTHistogram"]):
    """A histogram a tensor, in graph order, all on one grid.

    Attributes
    ----------
    histograms
        By tensor name; the names are those of the user's model.
    provenance
        Model, data and versions; its `grid` says which kind of histogram this is.
    shapes
        Shape of a tensor as far as known, for people.
    derived
        Tensor → tensor whose histogram its own follows from exactly; these were not counted.
    """

    histograms: Mapping[str, Histogram | TensorRTHistogram]
    provenance: Provenance
    shapes: Mapping[str, Shape]
    derived: Mapping[str, str]

    def __getitem__(self, tensor: str) -> Histogram | TensorRTHistogram:
        return self.histograms[tensor]

    def __iter__(self) -> Iterator[str]:
        return iter(self.histograms)

    def __len__(self) -> int:
        return len(self.histograms)

    def _repr_html_(self) -> str:
        sets = ", ".join(f"«{data.name}» ({data.count:,})" for data in self.provenance.chosen_on)
        facts = {"tensors": len(self), "derived": len(self.derived) or None, "samples": sets}
        return card("HistogramSet", facts, more=frame_table(self.frame()))

    def merge(self, other: "HistogramSet") -> "HistogramSet":
        """Return the histograms over both data sets; exact, in either order.

        The sets may have been preprocessed to two sizes, for a network that takes several: the same images then count
        at each. Dimensions in which the recorded shapes differ are unknown afterwards.

        Raises
        ------
        StaleError
            When model, grid, versions or preprocessing differ, but for the size of the samples.
        InputError
            When the tensors differ, the same samples were counted twice at one size, or the grid depends on order.
        """
        mine, theirs = self.provenance, other.provenance
        for name, several in (("model", "models"), ("grid", "grids"), ("versions", "versions")):
            if getattr(mine, name) != getattr(theirs, name):
                raise StaleError(
                    f"Histograms of two {several} cannot be merged: {getattr(mine, name)} and {getattr(theirs, name)}."
                )
        if set(self) != set(other):
            raise InputError(f"The two histogram sets cover different tensors: {sorted(set(self) ^ set(other))[:5]}.")
        _check_data(mine.chosen_on, theirs.chosen_on)
        merged = {name: _merged(name, self[name], other[name]) for name in self}
        shapes = {name: _common(shape, other.shapes.get(name, shape)) for name, shape in self.shapes.items()}
        provenance = replace(mine, chosen_on=mine.chosen_on + theirs.chosen_on)
        return replace(self, histograms=merged, provenance=provenance, shapes=shapes)

    def frame(self) -> "pd.DataFrame":
        """Return one line a tensor: `low`, `high` and `amax` in its unit, `zeros` a share 0 … 1 of the finite `values`.

        TensorRT's grid knows magnitudes alone: there `low` and `high` are NaN, and so is `zeros`.
        """
        import pandas as pd

        lines = [(name, self.shapes.get(name), *_cells(found), self.derived.get(name)) for name, found in self.items()]
        return pd.DataFrame(lines, columns=pd.Index(_COLUMNS))


def _cells(found: Histogram | TensorRTHistogram) -> tuple[float, ...]:
    if isinstance(found, TensorRTHistogram):
        return int(found.counts.sum()), nan, nan, nan, found.amax, 0
    zeros = found.zeros / found.total if found.total else nan
    return found.total, zeros, found.low, found.high, found.amax, found.nonfinite


def _check_data(mine: tuple[DataIdentity, ...], theirs: tuple[DataIdentity, ...]) -> None:
    for one in mine:
        for two in theirs:
            if one.preprocess_digest == two.preprocess_digest:
                if one.overlap(two) > 0:
                    raise InputError(f"«{one.name}» and «{two.name}» share samples, which would be counted twice.")
            elif _but_for_size(one) != _but_for_size(two) or _size(one) == _size(two):
                raise StaleError(
                    f"«{one.name}» and «{two.name}» were preprocessed differently; their histograms cannot be merged."
                )


def _but_for_size(data: DataIdentity) -> dict[str, Any]:
    return {key: value for key, value in data.preprocess.items() if key not in _SIZING}


def _size(data: DataIdentity) -> Any:
    """Return the size the network gets: a crop's, wherever there is one, whatever was resized before it."""
    return data.preprocess.get("crop") or data.preprocess.get("resize")


def _common(one: Shape, two: Shape) -> Shape:
    # One model's tensor has one rank.
    return tuple(mine if mine == theirs else None for mine, theirs in zip(one, two, strict=False))


def _merged(
    name: str, one: Histogram | TensorRTHistogram, two: Histogram | TensorRTHistogram
) -> Histogram | TensorRTHistogram:
    if isinstance(one, Histogram) and isinstance(two, Histogram):
        return one.merge(two)
    if isinstance(one, TensorRTHistogram):
        return one.merge(two)
    raise InputError(f"Tensor «{name}» has histograms of two grids, which cannot be merged.")
