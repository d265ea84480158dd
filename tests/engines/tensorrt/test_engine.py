"""What of the engine needs no GPU."""

import threading
from typing import Any

import numpy as np
import pytest

import quantlab as ql
from quantlab.engines.cuda.device_array import DeviceArray
from quantlab.engines.engine import TensorSpec
from quantlab.engines.tensorrt.engine import _check_lying, _narrowed, _Threads
from quantlab.errors import InputError, UsageError


def test_each_thread_has_a_lane_of_its_own() -> None:
    threads, found = _Threads(), []
    threads.lane = mine = object()  # type: ignore[assignment]

    def work() -> None:
        found.append(threads.lane)
        threads.lane = object()  # type: ignore[assignment]

    other = threading.Thread(target=work)
    other.start()
    other.join()
    assert found == [None]
    assert threads.lane is mine


def test_an_array_on_another_gpu_or_of_another_type_is_refused() -> None:
    inputs = {"x": TensorSpec("x", np.dtype(np.float32), ("batch", 3))}
    there = DeviceArray(256, (2, 3), np.dtype(np.float32), 1)
    _check_lying(inputs, "x", there, 1)
    with pytest.raises(InputError, match="lies on GPU 1, but the plan runs on GPU 0"):
        _check_lying(inputs, "x", there, 0)
    with pytest.raises(InputError, match=r"float32\[2, 3\] on the GPU, but the plan wants x: float32\[batch, 3\]"):
        _check_lying(inputs, "y", there, 1)


def test_integers_are_narrowed_only_without_loss() -> None:
    spec = TensorSpec("ids", np.dtype(np.int32), (2,))
    assert _narrowed(np.array([1, -(2**31)]), spec).tolist() == [1, -(2**31)]
    with pytest.raises(InputError, match="beyond 32 bits"):
        _narrowed(np.array([1, 2**31]), spec)


@pytest.mark.parametrize("source", [5, None, b"model.onnx"])
def test_what_is_no_model_is_refused_in_a_sentence(source: Any) -> None:
    with pytest.raises(UsageError, match="A model is a path"):
        ql.engines.trt(source)
