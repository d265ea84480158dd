"""Counting on the device equals counting the same values on the CPU, bit for bit; arrays of other libraries too."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest

from quantlab.collector.counters import TallyCounter
from quantlab.engines.cuda.device_array import DeviceArray, as_device_array, on_host
from quantlab.engines.cuda.device_tally import DeviceTally
from quantlab.engines.cuda.memory import Device
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray
from quantlab.numerics.counting import Tally
from quantlab.numerics.histogram import Histogram
from tests.numerics.tensors import ACTIVATIONS, SPECIAL, activation, f32

pytestmark = pytest.mark.gpu


def on_gpu(values: AnyArray) -> DeviceArray:
    device = Device()
    memory = device.allocate(values.nbytes)
    device.upload(np.ascontiguousarray(values), memory)
    device.wait()
    return DeviceArray(memory.pointer, values.shape, values.dtype, device.number, memory)


def bits(*values: int) -> AnyArray:
    return np.array(values, np.uint32).view(np.float32)


def counted_there(*batches: DeviceArray) -> Tally:
    counting = DeviceTally(("x", "unused"))
    for batch in batches:
        counting.add("x", batch)
        counting.totals()
    found = counting.finish()
    counting.close()
    assert "unused" not in found
    return found["x"]


def counted_here(*batches: AnyArray) -> Tally:
    tally = Tally()
    for batch in batches:
        tally.add(batch)
    return tally


def assert_same(one: Tally, two: Tally) -> None:
    assert np.array_equal(one.slots, two.slots)
    for name in ("zeros", "nan", "negative_infinite", "positive_infinite", "low", "high"):
        assert repr(float(getattr(one, name))) == repr(float(getattr(two, name))), name


def random_bits(count: int, seed: int = 0) -> AnyArray:
    """Every kind of float32 there is: half of all exponents lie outside any window."""
    return np.random.default_rng(seed).integers(0, 2**32, count, dtype=np.uint64).astype(np.uint32).view(np.float32)


EDGES = (np.arange(0, 2**18, 5, dtype=np.uint64) << np.uint64(14)).astype(np.uint32)
TENSORS: dict[str, AnyArray] = {
    **{name: activation(name, 300_001) for name in ACTIVATIONS},
    "zeros": np.zeros(100_003, np.float32),
    "negative zeros": np.full(33, -0.0, np.float32),
    "a constant in the window": np.full(200_000, 6.0, np.float32),
    "a constant outside it": np.full(200_000, -1e-30, np.float32),
    "one value": f32(-3.5),
    "special values": f32(*SPECIAL),
    "denormal": bits(1, 0x80000001, 0x3FFF, 0x4000, 0x80004000, 0x7FFFFF),
    "NaN of every kind": bits(0x7F800001, 0xFF800001, 0x7F803FFF, 0xFF803FFF, 0x7FC00000, 0xFFFFFFFF),
    "not finite, among others": f32(np.inf, 1, -np.inf, np.inf, np.nan, -2),
    "infinite alone": f32(np.inf, -np.inf),
    "slot edges and their neighbours": np.concatenate([EDGES, EDGES - np.uint32(1), EDGES + np.uint32(1)]).view("f4"),
    "all bits": random_bits(2**20 + 3),
    "large": activation("relu6", 2**24 + 5),
    "half, all of them": np.arange(2**16, dtype=np.uint16).view(np.float16),
    "half": activation("silu").astype(np.float16),
    "double": np.concatenate(
        [activation("gauss").astype(np.float64) * (1 + 2.0**-24), [1e300, -1e300, 1e-300, np.nan]]
    ),
}


@pytest.mark.parametrize("name", TENSORS)
def test_the_device_counts_what_the_cpu_counts(name: str) -> None:
    values = TENSORS[name]
    assert_same(counted_there(on_gpu(values)), counted_here(values))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("start", range(9))
def test_any_start_and_any_length_is_counted_whole(start: int, dtype: type) -> None:
    values: AnyArray = activation("gauss", 1000).astype(dtype)
    array = on_gpu(values)
    for stop in (start, start + 1, start + 7, 500, 1000):
        if stop > start:
            assert_same(counted_there(array[start:stop]), counted_here(values[start:stop]))


def test_batches_of_any_magnitude_add_up_while_the_window_follows() -> None:
    batches = [activation("gauss", 50_000, seed=abs(n)) * np.float32(10.0**n) for n in (-30, 0, 12, -3, 30)]
    assert_same(counted_there(*map(on_gpu, batches)), counted_here(*batches))


def test_an_empty_batch_changes_nothing() -> None:
    values = activation("relu6")
    array = on_gpu(values)
    assert_same(counted_there(array[:0], array, array[:0]), counted_here(values))


def test_histograms_merge_with_those_of_a_cpu() -> None:
    one, two = activation("silu", seed=1), activation("silu", seed=2) * np.float32(9)
    merged = Histogram.from_tally(counted_there(on_gpu(one))).merge(Histogram.of(two))
    assert merged == Histogram.of(np.concatenate([one, two]))


def counter(*, refuse: bool = True) -> TallyCounter:
    return TallyCounter(("a", "b"), workers=1, refuse_nonfinite=refuse)


def test_tensors_on_both_sides_of_the_bus_are_counted_together() -> None:
    one, two, three = (activation("gauss", seed=seed) for seed in range(3))
    counting = counter()
    counting.add({"a": on_gpu(one), "b": two}, "batch 0")
    counting.add({"a": three, "b": on_gpu(one)}, "batch 1")
    found = counting.finish()
    counting.close()
    assert_same(found["a"], counted_here(one, three))
    assert_same(found["b"], counted_here(two, one))


def test_not_a_number_is_refused_by_tensor_and_batch() -> None:
    good, bad = activation("gauss"), f32(1, np.nan, np.inf)
    counting = counter()
    counting.add({"a": on_gpu(good), "b": on_gpu(good)}, "batch 0")
    with pytest.raises(InputError, match=r"Tensor «b» holds 1 NaN, 1 \+Inf in batch 1"):
        counting.add({"a": on_gpu(good), "b": on_gpu(bad)}, "batch 1")
    counting.close()


def test_an_element_type_without_a_kernel_is_counted_on_the_host() -> None:
    values = np.arange(-5, 9, dtype=np.int32)
    counting = counter()
    counting.add({"a": on_gpu(values)}, "batch 0")
    assert_same(counting.finish()["a"], counted_here(values))
    with pytest.raises(InputError, match="«a» holds int32, which is not counted on the GPU"):
        DeviceTally(("a",)).add("a", on_gpu(values))


def test_an_array_comes_back_as_it_was() -> None:
    values = activation("gauss", 24).reshape(4, 3, 2)
    array = on_gpu(values)
    assert np.array_equal(on_host(array), values)
    assert np.array_equal(on_host(array[1:3]), values[1:3])
    assert np.array_equal(np.asarray(array, np.float64), values)


class OnlyDlpack:
    """What another library's array looks like from outside."""

    def __init__(self, array: DeviceArray) -> None:
        self._array = array

    def __dlpack__(self, **asked: Any) -> object:
        return self._array.__dlpack__(**asked)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()


class OnlyInterface:
    def __init__(self, array: DeviceArray, **changed: object) -> None:
        self.__cuda_array_interface__ = array.__cuda_array_interface__ | changed


@pytest.mark.parametrize("foreign", [OnlyDlpack, OnlyInterface])
def test_both_protocols_lead_to_the_same_memory(foreign: Any) -> None:
    values = activation("relu6", 60).reshape(5, 12)
    array = on_gpu(values)
    found = as_device_array(foreign(array))
    assert found is not None
    assert (found.pointer, found.shape, found.dtype, found.device) == (array.pointer, (5, 12), values.dtype, 0)
    assert_same(counted_there(found), counted_here(values))


def test_an_array_that_is_not_contiguous_is_refused() -> None:
    array = on_gpu(activation("gauss", 60).reshape(5, 12))
    with pytest.raises(InputError, match="make it contiguous first"):
        as_device_array(OnlyInterface(array, shape=(5, 6), strides=(48, 8)))


def library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        pytest.skip(f"needs {name}, which is not installed beside this Python's TensorRT")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_torch_tensors_are_counted_where_they_lie(dtype: str) -> None:
    torch = library("torch")
    tensor = torch.relu(torch.randn(7, 1001, device="cuda", dtype=getattr(torch, dtype)))
    found = as_device_array(tensor)
    assert found is not None
    assert found.pointer == tensor.data_ptr()
    assert_same(counted_there(found), counted_here(tensor.cpu().numpy()))


def test_torch_tensors_are_waited_for_on_any_stream() -> None:
    torch = library("torch")
    with torch.cuda.stream(torch.cuda.Stream()):
        values = torch.randn(4096, 4096, device="cuda")
        for _ in range(20):
            values = torch.sin(values) * 3
        found = as_device_array(values)
        assert found is not None
        assert_same(counted_there(found), counted_here(values.cpu().numpy()))


def test_torch_tensors_of_no_use_are_refused() -> None:
    torch = library("torch")
    with pytest.raises(InputError, match="make it contiguous first"):
        as_device_array(torch.zeros(3, 4, device="cuda").T)
    with pytest.raises(InputError, match="cannot be read through DLPack"):
        as_device_array(torch.ones(3, device="cuda").to_sparse())


def test_torch_reads_a_device_array() -> None:
    torch = library("torch")
    values = activation("gauss", 60).reshape(5, 12)
    array = on_gpu(values)
    tensor = torch.from_dlpack(array[1:])
    assert tensor.data_ptr() == array.pointer + 48
    assert np.array_equal(tensor.cpu().numpy(), values[1:])


def test_cupy_arrays_are_read_and_read_ours() -> None:
    cupy = library("cupy")
    values = activation("gauss", 60).reshape(5, 12)
    found = as_device_array(cupy.asarray(values))
    assert found is not None
    assert_same(counted_there(found), counted_here(values))
    assert np.array_equal(cupy.from_dlpack(on_gpu(values)).get(), values)
    assert np.array_equal(cupy.asarray(on_gpu(values)).get(), values)
