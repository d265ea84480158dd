"""Arrays that lie in a GPU's memory: what they are, how other libraries' become them, and the way back to the host."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeAlias

import numpy as np

from quantlab.engines.cuda.memory import opened
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray

_CUDA, _CUDA_MANAGED = 2, 13
"""DLPack's device types of memory that a kernel reads where it lies."""

_LEGACY_STREAM = 1
"""CUDA's legacy default stream, as DLPack and the CUDA array interface write it."""

_NO_ORDERING = -1
"""What DLPack calls the stream of a consumer that needs no ordering."""


@dataclass(frozen=True, slots=True, eq=False)
class DeviceArray:
    """A contiguous array in device memory, in C order; its values are finished, and valid until its engine's next run.

    Other libraries read it through DLPack (`torch.from_dlpack`, `cupy.from_dlpack`) or the CUDA array interface;
    `numpy.asarray` copies it to the host.

    Attributes
    ----------
    pointer
        Address of the first element, on the device; anything where the array is empty.
    device
        CUDA's number of the GPU.
    owner
        What keeps the memory alive.
    """

    pointer: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    device: int = 0
    owner: object = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.size * self.dtype.itemsize

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __getitem__(self, rows: slice) -> "DeviceArray":
        """Return neighbouring rows, `a[start:stop]`, of the same memory.

        Raises
        ------
        InputError
            For any other index, or an array without dimensions.
        """
        if not isinstance(rows, slice) or rows.step not in (None, 1) or not self.shape:
            raise InputError(
                f"An array of shape {list(self.shape)} on the GPU gives neighbouring rows, a[start:stop], and not "
                f"a[{rows}]: copy it to the host with numpy.asarray first."
            )
        start, stop, _ = rows.indices(self.shape[0])
        row = prod(self.shape[1:]) * self.dtype.itemsize
        return replace(self, pointer=self.pointer + start * row, shape=(max(stop - start, 0), *self.shape[1:]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> AnyArray:
        """Return a copy on the host."""
        if copy is False:  # numpy's protocol wants this type of error
            raise ValueError("An array on the GPU comes to the host as a copy.")
        found = np.empty(self.shape, self.dtype)
        if found.nbytes:
            device = opened(self.device)
            device.download(self.pointer, found)
            device.wait()
        return found if dtype is None else found.astype(dtype, copy=False)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return DLPack's type and number of the device."""
        return _CUDA, self.device

    def __dlpack__(
        self,
        *,
        stream: int | None = None,  # whichever it is: the values are finished
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> object:
        """Return DLPack's capsule of the same memory."""
        core = _core(self.device)
        buffer = core.Buffer.from_handle(self.pointer, self.nbytes, owner=self)
        view = core.utils.StridedMemoryView.from_buffer(buffer, self.shape, dtype=self.dtype)
        return view.__dlpack__(stream=_NO_ORDERING, max_version=max_version, dl_device=dl_device, copy=copy)

    @property
    def __cuda_array_interface__(self) -> dict[str, object]:
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer if self.size else 0, False),
            "strides": None,
            "stream": None,
        }


Arrays: TypeAlias = Mapping[str, AnyArray | DeviceArray]
"""Tensors by name, each where it lies."""


def as_device_array(value: object) -> DeviceArray | None:
    """Return any library's array in GPU memory as a DeviceArray of the same memory; None for what lies elsewhere.

    Torch tensors, CuPy arrays, ONNX Runtime's OrtValues and whatever else speaks DLPack or has a
    `__cuda_array_interface__` are read; what their library still computes is waited for.

    Raises
    ------
    InputError
        For an array that is not contiguous, or that its library does not hand out.
    """
    if isinstance(value, DeviceArray):
        return value
    speaking = _speaking(value)
    number = _gpu(speaking)
    if number is None:
        return None
    core = _core(number)
    try:
        view = core.utils.StridedMemoryView.from_any_interface(speaking, stream_ptr=_LEGACY_STREAM)
        dtype = np.dtype(view.dtype)
    except (BufferError, NotImplementedError, RuntimeError, TypeError) as error:
        raise InputError(f"The {type(value).__name__} on the GPU cannot be read through DLPack: {error}") from error
    core.LEGACY_DEFAULT_STREAM.sync()
    shape = tuple(int(size) for size in view.shape)
    if not _contiguous(shape, view.strides):
        raise InputError(
            f"An array of shape {list(shape)} on the GPU has strides {list(view.strides)}: make it contiguous first."
        )
    return DeviceArray(int(view.ptr), shape, dtype, int(view.device_id), view)


def as_array(value: object) -> AnyArray | DeviceArray:
    """Return an engine's output where it lies: a NumPy array on the host, a DeviceArray on a GPU; nothing is copied."""
    if isinstance(value, np.ndarray):
        return value
    there = as_device_array(value)
    if there is not None:
        return there
    speaking = _speaking(value)
    return np.asarray(value) if speaking is value else np.from_dlpack(speaking)


def on_host(value: object) -> AnyArray:
    """Return an engine's output as a NumPy array: copied from a GPU, and as it is where it lies on the host."""
    return np.asarray(as_array(value))


def _speaking(value: object) -> Any:
    """Return what speaks DLPack for an array: up to ONNX Runtime 1.23, that is what an OrtValue wraps."""
    return value if hasattr(value, "__dlpack__") else getattr(value, "_ortvalue", value)


def _gpu(value: object) -> int | None:
    """Return the number of the GPU in whose memory an array lies; None for other memory."""
    if hasattr(value, "__dlpack_device__"):
        kind, number = value.__dlpack_device__()
        return int(number) if int(kind) in (_CUDA, _CUDA_MANAGED) else None
    # The interface does not name the GPU; reading it does, whichever context is current.
    return 0 if hasattr(value, "__cuda_array_interface__") else None


def _core(device: int) -> Any:
    """Return cuda.core with a device's context, which the runtimes share, current in this thread."""
    opened(device)
    import cuda.core

    return cuda.core


def _contiguous(shape: tuple[int, ...], strides: tuple[int, ...] | None) -> bool:
    """Tell whether strides, counted in elements, are those of C order; a dimension of one element has any."""
    if strides is None or 0 in shape:
        return True
    wanted = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != wanted:
            return False
        wanted *= size
    return True
