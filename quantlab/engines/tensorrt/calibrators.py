"""TensorRT's calibrator classes (≤ 10): one that only hands out a cache, and its own fed with batches."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantlab.calibration.trt_cache import CalibrationCache, render_cache
from quantlab.engines.cuda.memory import Device, Memory
from quantlab.engines.tensorrt.build_options import Algorithm, NativeCalibration, Shape
from quantlab.engines.tensorrt.runtime import Heard
from quantlab.errors import InputError
from quantlab.numerics.arrays import AnyArray, Tensors

_CLASSES: dict[Algorithm, str] = {
    "entropy2": "IInt8EntropyCalibrator2",
    "minmax": "IInt8MinMaxCalibrator",
    "legacy": "IInt8LegacyCalibrator",
    "entropy": "IInt8EntropyCalibrator",
}
_ALGORITHMS: dict[str, Algorithm] = {
    "EntropyCalibration2": "entropy2",
    "MinMaxCalibration": "minmax",
    "LegacyCalibration": "legacy",
    "EntropyCalibration": "entropy",
}


@dataclass(frozen=True, slots=True)
class Fed:
    """The element type and shape of an input where calibration runs."""

    dtype: np.dtype[Any]
    shape: Shape


def handing_out(trt: Any, cache: CalibrationCache) -> Any:
    """Return a calibrator that has a cache and no data; its `asked` counts how often TensorRT wanted a batch.

    Raises
    ------
    InputError
        For a cache of an algorithm that TensorRT does not have: it would not be read.
    """
    if cache.algorithm not in _ALGORITHMS:
        raise InputError(
            f"The cache says it is of «{cache.algorithm}»; TensorRT's calibrators are {', '.join(_ALGORITHMS)}. Change "
            "its header with `quantlab cache retarget --algorithm`."
        )
    text = render_cache(cache).encode()
    quantile = _legacy_numbers(cache) if cache.algorithm == "LegacyCalibration" else (0.9999, 1.0)

    class Handing(_based(trt, _ALGORITHMS[cache.algorithm], *quantile)):  # type: ignore[misc]
        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, _names: list[str]) -> None:
            self.asked += 1

        def read_calibration_cache(self) -> bytes:
            return text

        def write_calibration_cache(self, cache: Any) -> None:
            self.written = bytes(cache)

    return Handing()


def calibrating(trt: Any, source: NativeCalibration, inputs: Mapping[str, Fed], device: Device) -> Any:
    """Return TensorRT's own calibrator over batches for these inputs; afterwards its `written` is the cache and `dropped` what was left.

    The rows that do not fill the last batch are dropped: TensorRT calibrates at one shape.
    """

    class Calibrating(_based(trt, source.algorithm, source.quantile, source.cutoff)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._batches = full_batches(source.batches, source.batch, tuple(inputs), self)
            self._memory: dict[str, Memory] = {}
            self.failure: BaseException | None = None

        def get_batch_size(self) -> int:
            return source.batch

        def get_batch(self, names: list[str]) -> list[int] | None:
            # An exception cannot cross TensorRT's C++; it is kept, and raised when the build has failed.
            try:
                ended = self.heard is not None and self.heard.raised is not None
                batch = None if ended else next(self._batches, None)
                self.asked += 1
                return None if batch is None else [self._held(name, batch) for name in names]
            except BaseException as error:  # noqa: BLE001  (see above; Ctrl-C, too)
                self.failure = error
                return None

        def _held(self, name: str, batch: Tensors) -> int:
            if name not in batch:
                raise InputError(f"The calibration data lack the input «{name}»; they have {sorted(batch)}.")
            values = fitting(name, batch[name], inputs[name])
            if name not in self._memory or self._memory[name].size < values.nbytes:
                self._memory[name] = device.allocate(values.nbytes)
            device.upload(values, self._memory[name])
            device.wait()
            return self._memory[name].pointer

        def read_calibration_cache(self) -> None:
            return None

        def write_calibration_cache(self, cache: Any) -> None:
            self.written = bytes(cache)

    return Calibrating()


def fitting(name: str, values: AnyArray, fed: Fed) -> AnyArray:
    """Return values as TensorRT reads them, which takes an address and asks nothing.

    Raises
    ------
    InputError
        For another shape than calibration runs at, or values that the input's element type cannot hold.
    """
    if values.shape != fed.shape:
        raise InputError(
            f"Calibration runs «{name}» at {list(fed.shape)}, and a batch of the data is {list(values.shape)}: give batches "
            "of that shape (batch=, --calib-batch), or another calibration profile (--calib-shapes)"
        )
    if not np.can_cast(values.dtype, fed.dtype, "same_kind"):
        raise InputError(f"Input «{name}» is {fed.dtype}, and the calibration data are {values.dtype}")
    cast = np.ascontiguousarray(values, fed.dtype)
    if values.dtype.kind in "iu" and (cast != values).any():
        raise InputError(f"The calibration data of «{name}» hold integers beyond {fed.dtype}")
    return cast.reshape(values.shape)


def full_batches(
    batches: Iterable[Tensors], size: int, inputs: tuple[str, ...], counting: Any
) -> Iterator[dict[str, AnyArray]]:
    """Yield batches of exactly `size` rows in the data's order; `counting.dropped` gets the rows left over.

    Images come without a name; they are the network's only input.
    """
    waiting: list[dict[str, AnyArray]] = []
    have = 0
    for batch in batches:
        named = batch.bind(inputs) if hasattr(batch, "bind") else batch
        arrays = {name: np.asarray(value) for name, value in named.items()}
        rows, start = next(iter(arrays.values())).shape[0], 0
        while have + rows - start >= size:
            end = start + size - have
            parts = [*waiting, {name: value[start:end] for name, value in arrays.items()}]
            yield {name: np.concatenate([part[name] for part in parts]) for name in arrays}
            waiting, have, start = [], 0, end
        if start < rows:  # copied: a data set may fill the same arrays again
            waiting.append({name: value[start:].copy() for name, value in arrays.items()})
            have += rows - start
    counting.dropped = have


def _based(trt: Any, algorithm: Algorithm, quantile: float, cutoff: float) -> Any:
    # TensorRT calls these by name and position.
    class Based(getattr(trt, _CLASSES[algorithm])):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.asked, self.dropped, self.written = 0, 0, b""
            self.heard: Heard | None = None

        # The following four are Legacy's alone; the others never call them.
        def get_quantile(self) -> float:
            return quantile

        def get_regression_cutoff(self) -> float:
            return cutoff

        def read_histogram_cache(self, _length: int) -> None:
            return None

        def write_histogram_cache(self, _pointer: Any, _length: int) -> None:
            return None

    return Based


def _legacy_numbers(cache: CalibrationCache) -> tuple[float, float]:
    """Return quantile and cutoff from a Legacy cache's first line: TensorRT reads it only where both agree."""
    _, cutoff, quantile = cache.header.split(" ")
    return float(np.frombuffer(bytes.fromhex(quantile), ">f8")[0]), float(
        np.frombuffer(bytes.fromhex(cutoff), ">f8")[0]
    )
