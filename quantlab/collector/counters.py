"""Counts each exposed tensor of a batch, several tensors at a time."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray, Tensors
from quantlab.numerics.counting import Tally, new_lanes
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram


class TallyCounter:
    """Full-resolution counts by tensor; the order of batches leaves no trace.

    Parameters
    ----------
    workers
        Threads that count; each tensor is counted by one of them at a time.
    refuse_nonfinite
        Raise for NaN and infinities instead of counting them apart.
    """

    def __init__(self, tensors: tuple[str, ...], *, workers: int, refuse_nonfinite: bool) -> None:
        self.tallies = {tensor: Tally() for tensor in tensors}
        self._refuse = refuse_nonfinite
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="quantlab-count") if workers > 1 else None
        self._own = threading.local()

    def add(self, outputs: Tensors, where: str) -> None:
        """Count one batch; `where` names it in an error.

        Raises
        ------
        InputError
            For NaN or infinity, naming tensor and batch.
        """
        # The largest first, so that no thread ends up alone with one.
        tensors = sorted((t for t in self.tallies if t in outputs), key=lambda t: -outputs[t].size)
        if self._pool is None:
            for tensor in tensors:
                self._count(tensor, outputs[tensor])
        else:
            list(self._pool.map(lambda tensor: self._count(tensor, outputs[tensor]), tensors))
        if self._refuse:
            _refuse_nonfinite({tensor: self.tallies[tensor] for tensor in self.tallies if tensor in outputs}, where)

    def _count(self, tensor: str, values: AnyArray) -> None:
        if not hasattr(self._own, "lanes"):
            self._own.lanes = new_lanes()
        self.tallies[tensor].add(values, self._own.lanes)

    def close(self) -> None:
        """Stop the threads."""
        if self._pool:
            self._pool.shutdown()


class TensorRTCounter:
    """Counts on TensorRT's grid: the first batch's maxima come first, then everything in order."""

    def __init__(self, tensors: tuple[str, ...], *, batch: int) -> None:
        self._batch = batch
        self._maxima = dict.fromkeys(tensors, 0.0)
        self.histograms: dict[str, TensorRTHistogram] = {}

    def measure(self, outputs: Tensors, where: str) -> None:
        """Note the maxima of a part of the first batch."""
        for tensor in outputs:
            amax = float(np.abs(outputs[tensor]).max(initial=0.0))
            if not np.isfinite(amax):
                raise InputError(f"Tensor «{tensor}» holds NaN or infinity in {where}.")
            self._maxima[tensor] = max(self._maxima[tensor], amax)

    def add(self, outputs: Tensors, where: str) -> None:
        """Count a part of a batch.

        Raises
        ------
        InputError
            For NaN or infinity, naming tensor and batch.
        """
        for tensor, values in outputs.items():
            start = TensorRTHistogram.starting(self._maxima[tensor], batch=self._batch)
            try:
                self.histograms[tensor] = self.histograms.get(tensor, start).added(values)
            except InputError as error:
                raise InputError(f"Tensor «{tensor}» in {where}: {error}") from error


def _refuse_nonfinite(tallies: Mapping[str, Tally], where: str) -> None:
    bad = {t: s for t, s in tallies.items() if s.nan or s.negative_infinite or s.positive_infinite}
    if not bad:
        return
    tensor, tally = next(iter(bad.items()))
    found = {"NaN": tally.nan, "+Inf": tally.positive_infinite, "-Inf": tally.negative_infinite}
    listed = ", ".join(f"{count} {kind}" for kind, count in found.items() if count)
    raise InputError(
        f"Tensor «{tensor}» holds {listed} in {where}{f'; so do {len(bad) - 1} more tensors' if len(bad) > 1 else ''}. "
        "Check the preprocessing and the model; masks of -Inf are counted apart with nonfinite='count' (--allow-nonfinite)."
    )
