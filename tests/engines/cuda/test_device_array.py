"""Arrays on a GPU as values: shapes, rows and interfaces. What reads their memory is in tests/gpu."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnxruntime import OrtValue

from quantlab.engines.cuda.device_array import DeviceArray, as_array, as_device_array, on_host
from quantlab.engines.cuda.memory import devices
from quantlab.errors import InputError, MachineError

ARRAY = DeviceArray(0x7000, (4, 3, 2), np.dtype(np.float32), device=1)


def test_sizes_follow_from_shape_and_type() -> None:
    assert (ARRAY.size, ARRAY.nbytes, ARRAY.ndim) == (24, 96, 3)
    scalar = DeviceArray(0x7000, (), np.dtype(np.float16))
    assert (scalar.size, scalar.nbytes, scalar.ndim) == (1, 2, 0)


@pytest.mark.parametrize("rows", [slice(2), slice(1, 3), slice(None), slice(9), slice(-1, None), slice(3, 1), slice(0)])
def test_rows_are_those_of_an_array_in_the_same_memory(rows: slice) -> None:
    twin = np.zeros(ARRAY.shape, ARRAY.dtype)
    part = ARRAY[rows]
    assert part.shape == twin[rows].shape
    if part.size:
        assert part.pointer - ARRAY.pointer == twin[rows].ctypes.data - twin.ctypes.data
    assert part.device == 1


@pytest.mark.parametrize("index", [0, slice(None, None, 2), (slice(2), 0), None])
def test_other_indices_are_refused(index: Any) -> None:
    with pytest.raises(InputError, match=r"shape \[4, 3, 2\] on the GPU gives neighbouring rows"):
        ARRAY[index]


def test_a_scalar_has_no_rows() -> None:
    with pytest.raises(InputError, match="copy it to the host"):
        DeviceArray(0x7000, (), np.dtype(np.float32))[:1]


def test_other_libraries_learn_where_it_lies() -> None:
    found = ARRAY[1:].__cuda_array_interface__
    assert found["shape"] == (3, 3, 2)
    assert found["typestr"] == "<f4"
    assert found["data"] == (0x7000 + 24, False)
    assert ARRAY[:0].__cuda_array_interface__["data"] == (0, False)
    assert ARRAY.__dlpack_device__() == (2, 1)


def test_an_empty_array_comes_to_the_host_without_a_gpu() -> None:
    assert on_host(ARRAY[:0]).shape == (0, 3, 2)
    assert np.asarray(ARRAY[:0], np.float64).dtype == np.float64


def test_without_a_gpu_it_cannot_come_to_the_host_and_says_so() -> None:
    if devices():
        pytest.skip("there is a GPU")
    with pytest.raises(MachineError, match="CUDA device 1 cannot be used"):
        np.asarray(ARRAY)


def test_a_view_on_the_host_is_impossible() -> None:
    with pytest.raises(ValueError, match="comes to the host as a copy"):
        ARRAY.__array__(copy=False)


def test_what_lies_on_the_host_stays_where_it_is() -> None:
    values = np.arange(3, dtype=np.float32)
    held = OrtValue.ortvalue_from_numpy(values)
    assert as_device_array(values) is None
    assert as_device_array(held) is None
    assert as_device_array([1.0]) is None
    assert as_array(values) is values
    assert on_host(values) is values
    assert np.array_equal(on_host(held), values)
    assert as_device_array(ARRAY) is ARRAY
