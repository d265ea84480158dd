"""A CUDA device with a stream of its own: memory, and copies in the stream's order."""

import ctypes
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantlab.errors import MachineError
from quantlab.numerics.arrays import AnyArray


@dataclass(frozen=True, slots=True)
class Memory:
    """Device memory; freed when nothing refers to it any more."""

    pointer: int
    size: int
    owner: Any


class Device:
    """A GPU and one stream on it. It belongs to the thread that opened it.

    Raises
    ------
    MachineError
        When cuda-python is not installed, or there is no such GPU.
    """

    def __init__(self, number: int = 0) -> None:
        core = _core()
        try:
            self.core = core.Device(number)
            self.core.set_current()
            self.stream = self.core.create_stream()
        except Exception as error:  # cuda.core's errors share no base class of their own
            raise MachineError(f"CUDA device {number} cannot be used: {_first_line(error)}.") from error
        self.number = number

    @property
    def name(self) -> str:
        """The GPU's name, for instance «NVIDIA H200»."""
        return str(self.core.name)

    @property
    def compute_capability(self) -> str:
        """For instance «9.0»."""
        major, minor = self.core.compute_capability
        return f"{major}.{minor}"

    @property
    def handle(self) -> int:
        """The stream, as the runtimes take it."""
        return int(self.stream.handle)

    def allocate(self, size: int) -> Memory:
        """Return device memory of this many bytes.

        Raises
        ------
        MachineError
            When the GPU has no more.
        """
        try:
            buffer = self.core.allocate(max(size, 1), stream=self.stream)
        except Exception as error:  # cuda.core's errors share no base class of their own
            raise MachineError(
                f"{self.name} has no {size:,} bytes left: {_first_line(error)}. Take a smaller batch."
            ) from error
        return Memory(int(buffer.handle), size, buffer)

    def upload(self, values: AnyArray, memory: Memory) -> None:
        """Copy a contiguous array to the device, in the stream's order; pinned arrays are copied while others work."""
        if values.nbytes:
            _check(_driver().cuMemcpyHtoDAsync(memory.pointer, values.ctypes.data, values.nbytes, self.stream.handle))

    def download(self, pointer: int, into: AnyArray) -> None:
        """Copy from the device into a contiguous array, in the stream's order; `wait` before reading it."""
        if into.nbytes:
            _check(_driver().cuMemcpyDtoHAsync(into.ctypes.data, pointer, into.nbytes, self.stream.handle))

    def copy(self, source: int, target: int, size: int) -> None:
        """Copy on the device, in the stream's order."""
        if size:
            _check(_driver().cuMemcpyDtoDAsync(target, source, size, self.stream.handle))

    def wait(self) -> None:
        """Wait until the stream has done everything."""
        self.stream.sync()

    def make_current(self) -> None:
        """Make this GPU the calling thread's, if another is: a runtime launches and allocates on the current one."""
        error, current = _driver().cuCtxGetDevice()
        if error or int(current) != self.number:
            self.core.set_current()


class _Opened(threading.local):
    """Each thread's own devices."""

    def __init__(self) -> None:
        self.devices: dict[int, Device] = {}


_opened = _Opened()


def opened(number: int) -> Device:
    """Return a GPU with the one stream that this thread copies on, however often it asks; it is the current one then.

    Raises
    ------
    MachineError
        As `Device`.
    """
    found = _opened.devices.get(number)
    if found is None:
        found = _opened.devices[number] = Device(number)
    found.make_current()
    return found


def pinned(shape: tuple[int, ...], dtype: Any = np.float32) -> AnyArray:
    """Return an uninitialised array in page-locked memory, from which the GPU copies without a detour.

    Raises
    ------
    MachineError
        When cuda-python is not installed, or the machine has no such memory.
    """
    kind = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    if size == 0:
        return np.empty(shape, kind)
    try:
        buffer = _core().LegacyPinnedMemoryResource().allocate(size)
    except Exception as error:  # cuda.core's errors share no base class of their own
        raise MachineError(f"No {size:,} bytes of page-locked memory are to be had: {_first_line(error)}.") from error
    block = (ctypes.c_uint8 * size).from_address(int(buffer.handle))
    block.quantlab_owner = buffer  # the array keeps the block alive, the block the memory
    return np.frombuffer(block, dtype=kind).reshape(shape)


def devices() -> int:
    """Return the number of CUDA devices; 0 where there is no driver or no cuda-python."""
    try:
        driver = _driver()
        if driver.cuInit(0)[0]:
            return 0
        error, count = driver.cuDeviceGetCount()
    except (ImportError, OSError, RuntimeError, MachineError):
        return 0
    return 0 if error else int(count)


def _check(result: tuple[Any, ...]) -> tuple[Any, ...]:
    error, *values = result
    if error:
        raise MachineError(f"CUDA reports {error.name}; what the GPU holds may be lost: start again.")
    return tuple(values)


def _core() -> Any:
    try:
        import cuda.core
    except ImportError as error:
        raise MachineError(
            f"The GPU is reached through cuda-python, which cannot be loaded ({error}): pip install 'quantlab[gpu]'."
        ) from error
    return cuda.core


def _driver() -> Any:
    from cuda.bindings import driver

    return driver


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return (text.splitlines()[0] if text else type(error).__name__).rstrip(".")
