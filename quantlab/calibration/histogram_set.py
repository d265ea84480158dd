"""The histograms of one collection run: what was counted, on which data, for which model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from quantlab.calibration.provenance import DataIdentity, Provenance
from quantlab.calibration.scale_table import Shape
from quantlab.errors import InputError, StaleError
from quantlab.numerics.histogram import Histogram
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram


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

    def merge(self, other: "HistogramSet") -> "HistogramSet":
        """Return the histograms over both data sets; exact, in either order.

        Raises
        ------
        StaleError
            When model, grid, versions or preprocessing differ.
        InputError
            When the tensors differ, the same samples were counted twice, or the grid depends on order.
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
        return replace(self, histograms=merged, provenance=replace(mine, chosen_on=mine.chosen_on + theirs.chosen_on))


def _check_data(mine: tuple[DataIdentity, ...], theirs: tuple[DataIdentity, ...]) -> None:
    for one in mine:
        for two in theirs:
            if one.preprocess_digest != two.preprocess_digest:
                raise StaleError(
                    f"«{one.name}» and «{two.name}» were preprocessed differently; their histograms cannot be merged."
                )
            if one.overlap(two) > 0:
                raise InputError(f"«{one.name}» and «{two.name}» share samples, which would be counted twice.")


def _merged(
    name: str, one: Histogram | TensorRTHistogram, two: Histogram | TensorRTHistogram
) -> Histogram | TensorRTHistogram:
    if isinstance(one, Histogram) and isinstance(two, Histogram):
        return one.merge(two)
    if isinstance(one, TensorRTHistogram):
        return one.merge(two)
    raise InputError(f"Tensor «{name}» has histograms of two grids, which cannot be merged.")
