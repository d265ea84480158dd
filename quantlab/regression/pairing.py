"""The samples that two runs share, side by side."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from quantlab.comparison.paired import PairedValues
from quantlab.comparison.sample_table import SampleTable
from quantlab.errors import InputError
from quantlab.numerics.arrays import F64, I64
from quantlab.regression.run import Run


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """Rows of both tables, sample by sample, in the order of their keys: the order of the data leaves no trace.

    Attributes
    ----------
    baseline, candidate
        The whole tables.
    ours, theirs
        int64[shared]: rows of the baseline's and of the candidate's table.
    """

    baseline: SampleTable
    candidate: SampleTable
    ours: I64
    theirs: I64

    def __len__(self) -> int:
        return len(self.ours)

    @property
    def left_out(self) -> tuple[int, int]:
        """Samples of the baseline alone, and of the candidate alone."""
        return len(self.baseline) - len(self), len(self.candidate) - len(self)

    @property
    def keys(self) -> tuple[str, ...]:
        """One a shared sample."""
        return tuple(self.candidate.keys[row] for row in self.theirs)

    @property
    def names(self) -> tuple[str, ...]:
        """The candidate's names of the shared samples; empty if it has none."""
        return tuple(self.candidate.names[row] for row in self.theirs) if self.candidate.names else ()

    @property
    def labels(self) -> I64 | None:
        """The candidate's labels of the shared samples, or the baseline's where it has none."""
        if self.candidate.labels is not None:
            return self.candidate.labels[self.theirs]
        return None if self.baseline.labels is None else self.baseline.labels[self.ours]

    @property
    def relabelled(self) -> int:
        """Shared samples that have another label in the candidate."""
        one, two = self.baseline.labels, self.candidate.labels
        return 0 if one is None or two is None else int(np.sum(one[self.ours] != two[self.theirs]))

    @property
    def classes(self) -> tuple[I64, I64] | None:
        """The classes that both INT8 networks choose; None where one has none."""
        one, two = self.baseline.int8_class, self.candidate.int8_class
        return None if one is None or two is None else (one[self.ours], two[self.theirs])

    @property
    def identical(self) -> bool:
        """Whether both INT8 networks gave the same outputs, bit for bit, on all shared samples.

        Told by what a sample's outputs leave: the energy of FP32's, that of INT8's error, the classes and each metric's
        values. Outputs that differ in a bit change the error's energy. False where no error is known.
        """
        signal, noise, other_signal, other_noise = self.energies()
        classes = self.classes
        common = self.baseline.values.keys() & self.candidate.values.keys()
        return (
            bool(np.isfinite(noise).any())
            and np.array_equal(signal, other_signal, equal_nan=True)
            and np.array_equal(noise, other_noise, equal_nan=True)
            and (classes is None or np.array_equal(*classes))
            and all(np.array_equal(values.fp32, values.int8) for values in map(self.int8, common))
        )

    def int8(self, metric: str) -> PairedValues:
        """Return a metric's values of the baseline's INT8 (as `fp32`) and of the candidate's (as `int8`)."""
        one, two = self.baseline.values[metric].int8[self.ours], self.candidate.values[metric].int8[self.theirs]
        if one.shape != two.shape:
            raise InputError(
                f"Metric «{metric}» has values of shape {list(one.shape[1:])} a sample in the baseline and "
                f"{list(two.shape[1:])} in the candidate: it was measured in two ways."
            )
        return PairedValues(one, two)

    def own(self, metric: str) -> PairedValues:
        """Return a metric's values of the candidate's FP32 and INT8."""
        values = self.candidate.values[metric]
        return PairedValues(values.fp32[self.theirs], values.int8[self.theirs])

    def energies(self) -> tuple[F64, F64, F64, F64]:
        """Return signal and noise of the baseline, and signal and noise of the candidate."""
        one, two = self.baseline, self.candidate
        return one.signal[self.ours], one.noise[self.ours], two.signal[self.theirs], two.noise[self.theirs]


def pair(baseline: Run, candidate: Run) -> Shared:
    """Return the samples that both runs scored, whatever their order; a sample that comes twice is paired twice.

    Raises
    ------
    InputError
        When a run does not tell its samples, or they share none.
    """
    one, two = _table(baseline), _table(candidate)
    ours, theirs = _places(one.keys), _places(two.keys)
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        raise InputError(
            f"«{baseline.name}» was scored on «{baseline.comparison.data.name}» and «{candidate.name}» on "
            f"«{candidate.comparison.data.name}», which share no sample: score both on the same evaluation set."
        )
    rows = [np.array([places[key] for key in common], np.int64) for places in (ours, theirs)]
    return Shared(one, two, rows[0], rows[1])


def _table(run: Run) -> SampleTable:
    table = run.comparison.samples_table if run.samples is None else run.samples
    if table is None or not table.keys:
        what = "no samples" if table is None else "no keys of its samples"
        raise InputError(f"«{run.name}» has {what} beside its comparison, so nothing can be paired: compare again.")
    return table


def _places(keys: tuple[str, ...]) -> dict[tuple[str, int], int]:
    """Return the row of each key and of each repetition of it."""
    seen: Counter[str] = Counter()
    places = {}
    for row, key in enumerate(keys):
        places[key, seen[key]] = row
        seen[key] += 1
    return places
