"""One thread's way through an engine: its context, its stream and its buffers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from typing_extensions import Self

from quantlab.engines.cuda.device_array import DeviceArray
from quantlab.engines.cuda.memory import Device, Memory, pinned
from quantlab.engines.engine import TensorSpec
from quantlab.engines.tensorrt.build_options import Shape
from quantlab.engines.tensorrt.loaded import Loaded
from quantlab.errors import InputError, MachineError
from quantlab.numerics.arrays import AnyArray

_ALIGNMENT = 256
"""Of addresses that TensorRT takes; rows out of the middle of an array may lie elsewhere."""


@dataclass(slots=True)
class Lane:
    """An execution context with memory for its inputs and outputs; buffers grow and are used again."""

    loaded: Loaded
    device: Device
    context: Any
    specs: Mapping[str, TensorSpec]
    _memory: dict[str, Memory] = field(default_factory=dict)
    _pinned: dict[str, AnyArray] = field(default_factory=dict)
    _bound: dict[str, DeviceArray] = field(default_factory=dict)

    @classmethod
    def of(cls, loaded: Loaded) -> Self:
        """Open a context for the calling thread.

        Raises
        ------
        MachineError
            When the GPU has not enough memory for it.
        """
        device = Device(loaded.device.number)
        return cls(loaded, device, _opened(loaded, device), loaded.specs(inputs=False))

    def run(self, feeds: Mapping[str, AnyArray | DeviceArray], outputs: tuple[str, ...]) -> dict[str, DeviceArray]:
        """Run one batch; the outputs are valid once the stream has got there."""
        found = self.bind(feeds)
        self.enqueue()
        return {name: found[name] for name in outputs}

    def bind(self, feeds: Mapping[str, AnyArray | DeviceArray]) -> dict[str, DeviceArray]:
        """Set shapes and addresses, copy inputs up, and return where every input is and every output will be.

        Raises
        ------
        InputError
            When the shapes fit no profile, or an output's size depends on values.
        """
        self.device.make_current()
        self._choose_profile({name: tuple(value.shape) for name, value in feeds.items()})
        given = {name: self._placed(name, value) for name, value in feeds.items()}
        for name, array in given.items():
            if not self.context.set_input_shape(name, array.shape):
                raise InputError(f"Input «{name}»: the plan takes no {list(array.shape)}.")
        self._bound = given | {name: self._room(name, spec) for name, spec in self.specs.items()}
        for name, array in self._bound.items():
            self.context.set_tensor_address(name, array.pointer)
        return self._bound

    def enqueue(self) -> None:
        """Run the bound batch, in the stream's order.

        Raises
        ------
        InputError
            With TensorRT's first error.
        """
        self.enqueue_on(self.device.handle)

    def enqueue_on(self, stream: int) -> None:
        """Run the bound batch on a stream, one that captures a graph for instance."""
        if self.context.execute_async_v3(stream):
            return
        with self.loaded.lib.log.heard() as heard:
            again = self.context.execute_async_v3(stream)  # to hear why; a listener to every run would cost time
        if not again:
            raise InputError(f"{self.loaded.lib.title} could not run the plan: {heard.first_error}.")

    def on_host(self, arrays: Mapping[str, DeviceArray]) -> dict[str, AnyArray]:
        """Copy outputs into page-locked arrays that are used again, and wait for them."""
        found = {}
        for name, array in arrays.items():
            block = self._pinned.get(name)
            if block is None or block.nbytes < array.nbytes:
                block = self._pinned[name] = pinned((max(array.nbytes, 1),), np.uint8)
            found[name] = block[: array.nbytes].view(array.dtype).reshape(array.shape)
            self.device.download(array.pointer, found[name])
        self.device.wait()
        return found

    def profile(self, rounds: int) -> dict[str, float]:
        """Return each layer's median milliseconds over some runs of the bound batch."""
        times: dict[str, list[float]] = {}
        base: Any = self.loaded.lib.module.IProfiler

        class Profiler(base):  # type: ignore[misc]
            def __init__(self) -> None:
                base.__init__(self)

            def report_layer_time(self, layer: str, ms: float) -> None:
                times.setdefault(layer, []).append(ms)

        for _ in range(3):  # warm up
            self.enqueue()
        self.device.wait()
        self.context.profiler = kept = Profiler()
        try:
            for _ in range(rounds):
                self.enqueue()
                self.device.wait()
        finally:
            # A context keeps its profiler for good and must not outlive it, so it goes first; and before the next one
            # comes, as 8.5 lends a profile to one context at a time.
            self.context = None
            del kept
            self.context = _opened(self.loaded, self.device)
        return {layer: float(np.median(found)) for layer, found in times.items()}

    def _choose_profile(self, shapes: Mapping[str, Shape]) -> None:
        profiles = self.loaded.profiles
        fitting = [i for i, profile in enumerate(profiles) if profile.takes(shapes)]
        if profiles and not fitting:
            given = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
            raise InputError(
                f"The plan was built for other shapes than {given}; its profiles take {_taken(profiles)}. "
                "Build it with a profile (--shapes) that has this one."
            )
        best = [i for i in fitting if profiles[i].best_for(shapes)]
        wanted = (best or fitting or [0])[0]
        if profiles and wanted != self.context.active_optimization_profile:  # up to 8.6, a second context has none yet
            with self.loaded.lib.log.heard() as heard:
                chosen = self.context.set_optimization_profile_async(wanted, self.device.handle)
            if not chosen:  # on 8.5 another thread's context may have it
                raise InputError(
                    f"{self.loaded.lib.title} cannot run the plan's profile {wanted}: {heard.first_error}."
                )

    def _placed(self, name: str, value: AnyArray | DeviceArray) -> DeviceArray:
        if isinstance(value, DeviceArray) and value.pointer % _ALIGNMENT == 0:
            return value
        memory = self._sized(name, value.nbytes)
        if isinstance(value, DeviceArray):
            self.device.copy(value.pointer, memory.pointer, value.nbytes)
        else:
            self.device.upload(value, memory)
        return DeviceArray(memory.pointer, tuple(value.shape), value.dtype, self.device.number, memory)

    def _room(self, name: str, spec: TensorSpec) -> DeviceArray:
        shape = tuple(int(n) for n in self.context.get_tensor_shape(name))
        if min(shape, default=0) < 0:
            raise InputError(f"The size of output «{name}» depends on values, which quantlab cannot take.")
        size = int(np.prod(shape, dtype=np.int64)) * spec.dtype.itemsize
        memory = self._sized(name, size)
        return DeviceArray(memory.pointer, shape, spec.dtype, self.device.number, memory)

    def _sized(self, name: str, size: int) -> Memory:
        have = self._memory.get(name)
        if have is None or have.size < size:
            self._memory[name] = have = self.device.allocate(size)
        return have


def _opened(loaded: Loaded, device: Device) -> Any:
    with loaded.lib.log.heard() as heard:
        context = loaded.engine.create_execution_context()
    if context is None:
        raise MachineError(f"{loaded.lib.title} cannot open a context on {device.name}: {heard.first_error}.")
    return context


def _taken(profiles: Any) -> str:
    return "; ".join(
        ", ".join(f"{name} {list(low)} … {list(high)}" for name, (low, _, high) in profile.shapes.items())
        for profile in profiles
    )
