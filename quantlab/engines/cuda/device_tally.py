"""Counts tensors on the GPU that holds them, equal bit for bit to counting the same values on a CPU."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from quantlab.engines.cuda.device_array import DeviceArray
from quantlab.engines.cuda.memory import Device, Memory
from quantlab.errors import InputError, MachineError
from quantlab.numerics.arrays import AnyArray
from quantlab.numerics.counting import HALF, PARTS, SHIFT, Tally

SOURCE = Path(__file__).with_name("tally.cu")

KERNELS: dict[np.dtype[Any], str] = {
    np.dtype(np.float16): "tally_float16",
    np.dtype(np.float32): "tally_float32",
    np.dtype(np.float64): "tally_float64",
}
"""Kernel by the element type it counts."""

MACROS = {"SHIFT": SHIFT, "OCTAVES": 8, "THREADS": 512}
"""What tally.cu leaves open. Eight octaves of both signs take 32 KiB of shared memory, which any GPU gives a block."""

_FIRST_BASE = 123
"""The window before a tensor's size is known: magnitudes from 2**-4 to 2**4."""

_VALUES_A_BLOCK = 16384
"""Twice the slots that a block empties when it ends."""

_BLOCKS_A_PROCESSOR = 4
_MOST_A_BLOCK = 2**31  # its counters have 32 bits

_TOTALS = np.dtype(
    [
        ("zeros", np.uint64),
        ("nan", np.uint64),
        ("negative_infinite", np.uint64),
        ("positive_infinite", np.uint64),
        ("low", np.int32),
        ("high", np.int32),
    ]
)
_SLOT_BYTES = 2 * HALF * 8


@dataclass(frozen=True, slots=True)
class Totals:
    """What is known of a tensor before its slots are fetched, as in `Tally`."""

    zeros: int
    nan: int
    negative_infinite: int
    positive_infinite: int
    low: float
    high: float


class DeviceTally:
    """Running counts of tensors in one GPU's memory; private to the thread that counts.

    The counts are those of `Tally.add` for the same values, bit for bit. The values are another matter: two runtimes,
    or two GPUs, compute activations that differ in their last bits.

    Parameters
    ----------
    tensors
        Names that may be counted; each takes 2 MiB of device memory from its first batch on.
    device
        CUDA's number of the GPU.

    Raises
    ------
    MachineError
        When there is no such GPU, no cuda-python, or no NVRTC to compile the kernel with.
    """

    def __init__(self, tensors: tuple[str, ...], device: int = 0) -> None:
        self._gpu = Device(device)
        self._kernels = _kernels(device)
        self._processors = int(self._gpu.core.properties.multiprocessor_count)
        self._rows = {tensor: row for row, tensor in enumerate(tensors)}
        self._slots: dict[str, Memory] = {}
        self._bases = dict.fromkeys(tensors, _FIRST_BASE)
        self._found = np.zeros(len(tensors), _TOTALS)
        self._found["low"], self._found["high"] = np.iinfo(np.int32).max, np.iinfo(np.int32).min
        self._totals = self._gpu.allocate(self._found.nbytes)
        self._gpu.upload(self._found, self._totals)
        self._gpu.wait()

    def add(self, tensor: str, values: DeviceArray) -> None:
        """Start counting every element; the array must stay as it is until `totals` or `finish` returns.

        Raises
        ------
        InputError
            For an element type without a kernel, or an array on another GPU.
        """
        if values.dtype not in KERNELS:
            raise InputError(f"Tensor «{tensor}» holds {values.dtype}, which is not counted on the GPU.")
        if values.device != self._gpu.number:
            raise InputError(
                f"Tensor «{tensor}» lies on GPU {values.device}, and others on GPU {self._gpu.number}: count one GPU's "
                "tensors in one collection, and merge the histograms."
            )
        if values.size:
            self._launch(tensor, values)

    def totals(self) -> dict[str, Totals]:
        """Wait for the counting, and return what is known of each tensor so far; 40 bytes a tensor are copied."""
        self._gpu.download(self._totals.pointer, self._found)
        self._gpu.wait()
        low, high = floats_of(self._found["low"]), floats_of(self._found["high"])
        self._bases.update((tensor, window_base(low[row], high[row])) for tensor, row in self._rows.items())
        return {tensor: self._total(row, low, high) for tensor, row in self._rows.items()}

    def finish(self) -> dict[str, Tally]:
        """Return the count of every tensor that had a value; the slots are copied to the host here."""
        totals = self.totals()
        tables = {tensor: np.empty(2 * HALF, np.int64) for tensor in self._slots}
        for tensor, slots in tables.items():
            self._gpu.download(self._slots[tensor].pointer, slots)
        self._gpu.wait()
        return {tensor: _tally(slots, totals[tensor]) for tensor, slots in tables.items()}

    def close(self) -> None:
        """Free the device memory, when the counting that was started has ended."""
        self._gpu.wait()
        self._slots.clear()

    def _launch(self, tensor: str, values: DeviceArray) -> None:
        from cuda.core import LaunchConfig, launch

        slots = self._slots.get(tensor)
        if slots is None:
            slots = self._slots[tensor] = self._gpu.allocate(_SLOT_BYTES)
            slots.owner.fill(0, stream=self._gpu.stream)
        launch(
            self._gpu.stream,
            LaunchConfig(grid=_blocks(values.size, self._processors), block=MACROS["THREADS"]),
            self._kernels[values.dtype],
            np.uint64(values.pointer),
            np.uint64(values.size),
            np.uint32(self._bases[tensor]),
            np.uint64(slots.pointer),
            np.uint64(self._totals.pointer + self._rows[tensor] * _TOTALS.itemsize),
        )

    def _total(self, row: int, low: AnyArray, high: AnyArray) -> Totals:
        zeros, nan, negative_infinite, positive_infinite, *_ = self._found[row].item()
        return Totals(zeros, nan, negative_infinite, positive_infinite, float(low[row]), float(high[row]))


def compile_kernels(architecture: str) -> Any:
    """Compile tally.cu with NVRTC for an architecture, «sm_90» for instance; it needs no GPU.

    Returns
    -------
    cuda.core.ObjectCode
        With the kernels of `KERNELS`.

    Raises
    ------
    MachineError
        When cuda-python or NVRTC is missing, or NVRTC does not know the architecture.
    """
    try:
        from cuda.core import Program, ProgramOptions

        macros = [(name, str(value)) for name, value in MACROS.items()]
        options = ProgramOptions(name=SOURCE.name, arch=architecture, define_macro=macros)
        return Program(SOURCE.read_text("utf-8"), "c++", options).compile("cubin")
    except Exception as error:  # cuda.core's errors share no base class of their own
        said = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise MachineError(
            f"The counting kernel cannot be compiled for {architecture}: {said}. It takes cuda-core and "
            "nvidia-cuda-nvrtc of the driver's major version."
        ) from error


@cache
def _kernels(device: int) -> dict[np.dtype[Any], Any]:
    """Return the kernels on a device, compiled once a process: a quarter of a second."""
    compiled = compile_kernels(f"sm_{Device(device).compute_capability.replace('.', '')}")
    return {dtype: compiled.get_kernel(name) for dtype, name in KERNELS.items()}


def _blocks(size: int, processors: int) -> int:
    """Return how many blocks share the values: all that run at once, but none for too little or for too much."""
    wanted = min(-(-size // _VALUES_A_BLOCK), _BLOCKS_A_PROCESSOR * processors)
    return max(wanted, -(-size // _MOST_A_BLOCK))


def window_base(low: float, high: float) -> int:
    """Return the biased exponent of the window's lowest octave, such that its highest holds the largest magnitude."""
    largest = np.float32(max(abs(low), abs(high)))
    if not largest > 0:  # nothing finite yet, or zeros alone
        return _FIRST_BASE
    octave = int(largest.view(np.uint32)) // (PARTS << SHIFT)
    return min(max(octave + 1 - MACROS["OCTAVES"], 1), 255 - MACROS["OCTAVES"])


def floats_of(ordered: AnyArray) -> AnyArray:
    """Undo the map of a float32's bits to integers of the same order; what no value has touched becomes NaN."""
    return (ordered ^ ((ordered >> 31) & np.int32(0x7FFFFFFF))).view(np.float32) + np.float32(0.0)


def _tally(slots: AnyArray, totals: Totals) -> Tally:
    return Tally(
        slots,
        totals.zeros,
        totals.nan,
        totals.negative_infinite,
        totals.positive_infinite,
        totals.low,
        totals.high,
    )
