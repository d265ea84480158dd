"""Counts each exposed tensor of a batch, several tensors at a time, each where it lies."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from quantlab.engines.cuda.device_array import Arrays, DeviceArray, on_host
from quantlab.engines.cuda.device_tally import KERNELS, DeviceTally, Totals
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray, Tensors
from quantlab.numerics.counting import Tally, new_lanes
from quantlab.numerics.tensorrt_histogram import TensorRTHistogram


class TallyCounter:
    """Full-resolution counts by tensor; the order of batches leaves no trace, nor does the place where they are counted.

    Parameters
    ----------
    workers
        Threads that count; each tensor is counted by one of them at a time.
    refuse_nonfinite
        Raise for NaN and infinities instead of counting them apart.
    """

    def __init__(self, tensors: tuple[str, ...], *, workers: int, refuse_nonfinite: bool) -> None:
        self._tallies = {tensor: Tally() for tensor in tensors}
        self._refuse = refuse_nonfinite
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="quantlab-count") if workers > 1 else None
        self._own = threading.local()
        self._gpu: DeviceTally | None = None

    def add(self, outputs: Arrays, where: str) -> None:
        """Count one batch; `where` names it in an error.

        Raises
        ------
        InputError
            For NaN or infinity, naming tensor and batch.
        """
        wanted = {tensor: outputs[tensor] for tensor in self._tallies if tensor in outputs}
        there = {t: v for t, v in wanted.items() if isinstance(v, DeviceArray) and v.dtype in KERNELS}
        self._start_on_gpu(there)  # which counts while the host does
        self._count_here({tensor: on_host(value) for tensor, value in wanted.items() if tensor not in there})
        seen: dict[str, Tally | Totals] = {tensor: self._tallies[tensor] for tensor in wanted if tensor not in there}
        if self._gpu is not None and there:
            totals = self._gpu.totals()
            seen.update({tensor: totals[tensor] for tensor in there})
        if self._refuse:
            _refuse_nonfinite({tensor: seen[tensor] for tensor in wanted}, where)

    def finish(self) -> dict[str, Tally]:
        """Return every tensor's count; what was counted on a GPU is fetched now."""
        fetched = self._gpu.finish() if self._gpu else {}
        return {t: _together(tally, fetched[t]) if t in fetched else tally for t, tally in self._tallies.items()}

    def close(self) -> None:
        """Stop the threads and free the GPU's memory."""
        if self._pool:
            self._pool.shutdown()
        if self._gpu:
            self._gpu.close()

    def _start_on_gpu(self, arrays: Mapping[str, DeviceArray]) -> None:
        for tensor, values in arrays.items():
            if self._gpu is None:
                self._gpu = DeviceTally(tuple(self._tallies), values.device)
            self._gpu.add(tensor, values)

    def _count_here(self, arrays: Tensors) -> None:
        tensors = sorted(arrays, key=lambda t: -arrays[t].size)  # so that no thread ends up alone with a large one
        if self._pool is None:
            for tensor in tensors:
                self._count(tensor, arrays[tensor])
        else:
            list(self._pool.map(lambda tensor: self._count(tensor, arrays[tensor]), tensors))

    def _count(self, tensor: str, values: AnyArray) -> None:
        if not hasattr(self._own, "lanes"):
            self._own.lanes = new_lanes()
        self._tallies[tensor].add(values, self._own.lanes)


class TensorRTCounter:
    """Counts on TensorRT's grid, on the host: the first batch's maxima come first, then everything in order."""

    def __init__(self, tensors: tuple[str, ...], *, batch: int) -> None:
        self._batch = batch
        self._maxima = dict.fromkeys(tensors, 0.0)
        self.histograms: dict[str, TensorRTHistogram] = {}

    def measure(self, outputs: Arrays, where: str) -> None:
        """Note the maxima of a part of the first batch."""
        for tensor, values in outputs.items():
            amax = float(np.abs(on_host(values)).max(initial=0.0))
            if not np.isfinite(amax):
                raise InputError(f"Tensor «{tensor}» holds NaN or infinity in {where}.")
            self._maxima[tensor] = max(self._maxima[tensor], amax)

    def add(self, outputs: Arrays, where: str) -> None:
        """Count a part of a batch.

        Raises
        ------
        InputError
            For NaN or infinity, naming tensor and batch.
        """
        for tensor, values in outputs.items():
            start = TensorRTHistogram.starting(self._maxima[tensor], batch=self._batch)
            try:
                self.histograms[tensor] = self.histograms.get(tensor, start).added(on_host(values))
            except InputError as error:
                raise InputError(f"Tensor «{tensor}» in {where}: {error}") from error


def _refuse_nonfinite(tallies: Mapping[str, Tally | Totals], where: str) -> None:
    bad = {t: s for t, s in tallies.items() if s.nan or s.negative_infinite or s.positive_infinite}
    if not bad:
        return
    tensor, tally = next(iter(bad.items()))
    found = {"NaN": tally.nan, "+Inf": tally.positive_infinite, "-Inf": tally.negative_infinite}
    listed = ", ".join(f"{count} {kind}" for kind, count in found.items() if count)
    raise InputError(
        f"Tensor «{tensor}» holds {listed} in {where}{f'; so do {len(bad) - 1} more tensors' if len(bad) > 1 else ''}. "
        "Check the preprocessing and the model; masks of -Inf are counted apart with --allow-nonfinite (nonfinite: count in a job, nonfinite='count' in Python)."
    )


def _together(one: Tally, two: Tally) -> Tally:
    """Return the count of both tallies' values."""
    return Tally(
        one.slots + two.slots,
        one.zeros + two.zeros,
        one.nan + two.nan,
        one.negative_infinite + two.negative_infinite,
        one.positive_infinite + two.positive_infinite,
        float(np.fmin(one.low, two.low)),
        float(np.fmax(one.high, two.high)),
    )
