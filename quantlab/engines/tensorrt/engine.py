"""A plan that runs: the Engine over TensorRT, by tensor names, with one execution context a thread."""

import threading
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from typing_extensions import Self

from quantlab.calibration.provenance import DataIdentity
from quantlab.engines.cuda.device_array import DeviceArray, as_device_array
from quantlab.engines.cuda.memory import Device
from quantlab.engines.engine import TensorSpec, check_batch
from quantlab.engines.tensorrt.build_options import batches_of
from quantlab.engines.tensorrt.lane import Lane
from quantlab.engines.tensorrt.loaded import Loaded
from quantlab.engines.tensorrt.plan import Plan
from quantlab.errors import InputError
from quantlab.graph.derive import Derivation
from quantlab.numerics.arrays import AnyArray, Tensors


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch that lies on the device with every address set.

    `enqueue` runs it, again and again; `enqueue_on` does so on another stream, one that captures a CUDA graph for
    instance. Valid until the thread's next `run`, `prepare`, `inspect` or `profile`.
    """

    enqueue: Callable[[], None]
    enqueue_on: Callable[[int], None]
    device: Device
    outputs: Mapping[str, DeviceArray]


class _Threads(threading.local):
    """Each thread's own context, stream and buffers; slots, in a `threading.local`, would be shared by all threads."""

    lane: Lane | None = None


class TrtEngine:
    """A TensorRT plan as an engine.

    Any thread may call `run`: each has a context, a stream and buffers of its own.

    Parameters
    ----------
    plan
        As `build` or `read_plan` returned it.
    on_device
        `run` returns arrays that stay on the GPU (DLPack) instead of host arrays.
    device
        CUDA device number.
    plugins
        Plugin libraries that the plan needs.
    derivations
        Outputs that follow exactly from others.
    outputs
        What `run` returns, in this order, inputs among them; None is what the plan puts out.

    Raises
    ------
    StaleError
        When the plan is for another TensorRT version or GPU.
    InputError
        When TensorRT cannot load it, or its weights were left out.
    MachineError
        When there is no GPU, no cuda-python or no TensorRT.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        on_device: bool = False,
        device: int = 0,
        plugins: tuple[str, ...] = (),
        derivations: Mapping[str, Derivation] | None = None,
        outputs: tuple[str, ...] | None = None,
    ) -> None:
        self.plan, self.on_device, self._plugins = plan, on_device, plugins
        self._loaded = Loaded.of(plan, device=device, plugins=plugins)
        self._threads, self._shared = _Threads(), False
        self._derivations = dict(derivations or {})
        self.inputs: Mapping[str, TensorSpec] = self._loaded.specs(inputs=True)
        every = {**self.inputs, **self._loaded.specs(inputs=False)}
        names = outputs or tuple(self._loaded.specs(inputs=False))
        self.outputs: Mapping[str, TensorSpec] = {name: every[name] for name in names}

    @property
    def opening(self) -> "TrtOpening":
        """What opens this engine again on the first GPU that another process sees."""
        return TrtOpening(self.plan, self.on_device, self._plugins, dict(self._derivations), tuple(self.outputs))

    @property
    def derivations(self) -> Mapping[str, Derivation]:
        """Outputs that follow exactly from other tensors of the network."""
        return self._derivations

    @property
    def model_digest(self) -> str:
        """Digest of the user's model, by content."""
        return self.plan.card.model

    @property
    def model_name(self) -> str:
        """The model's file name."""
        return self.plan.card.model_name

    @property
    def chosen_on(self) -> tuple[DataIdentity, ...]:
        """The sets of samples that had a say in the plan's scales, as far as its card tells."""
        return self.plan.card.chosen_on

    @property
    def backend(self) -> str:
        """Library, version, GPU and precision, for instance «tensorrt 8.6.1 NVIDIA H200 fp32+int8»."""
        card = self.plan.card
        kind = f" {card.scales}" if card.scales else ""
        return f"{card.library} {card.version} {self._loaded.device.name} {'+'.join(card.precision)}{kind}"

    @property
    def largest_batch(self) -> int:
        """The most rows that any profile takes, for whoever chooses the batch; 1 where it is fixed."""
        return batches_of(self._loaded.profiles)[1]

    @property
    def smallest_batch(self) -> int:
        """The fewest rows that any profile takes; whoever has less fills them up."""
        return batches_of(self._loaded.profiles)[0]

    def run(self, batch: Tensors) -> Mapping[str, Any]:
        """Run one batch; what is returned is overwritten by this thread's next call.

        Inputs may be host arrays or arrays on this GPU (DLPack); those are used where they lie.

        Raises
        ------
        InputError
            When the batch does not fit the inputs or any profile, or TensorRT fails on it.
        """
        lane = self._lane()
        outputs = lane.run(self._fitting(batch), tuple(self.outputs))
        if self.on_device:
            lane.device.wait()
            return outputs
        return lane.on_host(outputs)

    def prepare(self, batch: Tensors) -> Prepared:
        """Put a batch on the device and set every address, without running it.

        Raises
        ------
        InputError
            As `run`.
        """
        lane = self._lane()
        outputs = lane.bind(self._fitting(batch))
        lane.device.wait()  # pinned arrays are copied while the caller goes on, and may change or go
        return Prepared(lane.enqueue, lane.enqueue_on, lane.device, {name: outputs[name] for name in self.outputs})

    def profile(self, batch: Tensors, *, rounds: int = 20) -> dict[str, float]:
        """Return each layer's median milliseconds on this batch, as TensorRT's profiler measures it."""
        lane = self._lane()
        lane.bind(self._fitting(batch))
        return lane.profile(rounds)

    def inspect(self, batch: Tensors | None = None) -> str:
        """Return the engine inspector's JSON text; a batch picks the profile and fills in the shapes."""
        if batch is None:
            return self._loaded.inspect(None)
        lane = self._lane()
        lane.bind(self._fitting(batch))
        return self._loaded.inspect(lane.context)

    def restrict(self, outputs: tuple[str, ...]) -> "TrtEngine":
        """Return an engine that returns these of its outputs only; it shares the plan, so every bit is the same.

        Raises
        ------
        InputError
            For a name that is not among the outputs.
        """
        unknown = sorted(set(outputs) - set(self.outputs))
        if unknown:
            raise InputError(f"The engine has no output {unknown}; open it with these tensors exposed.")
        part = copy(self)
        part.outputs = {name: self.outputs[name] for name in outputs}
        part._shared = True
        return part

    def exposing(self, outputs: tuple[str, ...]) -> "TrtEngine":
        """Return `restrict(outputs)`: a plan is built once, and building it anew would cost more than it saves."""
        return self.restrict(outputs)

    def close(self) -> None:
        """Free this thread's context and buffers, those of other threads go with them; a `restrict`ed engine has none."""
        if not self._shared:
            self._threads.lane = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _lane(self) -> Lane:
        if self._threads.lane is None:
            self._threads.lane = Lane.of(self._loaded)
        return self._threads.lane

    def _fitting(self, batch: Tensors) -> dict[str, AnyArray | DeviceArray]:
        """Return the batch as the plan wants it: TensorRT < 10 has no 64-bit integers."""
        there = {name: as_device_array(value) for name, value in batch.items()}
        host = {name: _narrowed(value, self.inputs.get(name)) for name, value in batch.items() if there[name] is None}
        lying = {name: value for name, value in there.items() if value is not None}
        if not lying:
            return dict(check_batch(self.inputs, host))
        checked = check_batch({n: s for n, s in self.inputs.items() if n not in lying}, host)
        for name, value in lying.items():
            _check_lying(self.inputs, name, value, self._loaded.device.number)
        return {name: lying.get(name, checked.get(name)) for name in self.inputs}  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class TrtOpening:
    """A plan, and how its engine shows it."""

    plan: Plan
    on_device: bool
    plugins: tuple[str, ...]
    derivations: Mapping[str, Derivation]
    outputs: tuple[str, ...]

    gpus = 1
    """How many GPUs an engine takes."""

    def open(self, *, threads: int | None = None) -> TrtEngine:  # noqa: ARG002 - a plan runs on the GPU
        """Load the plan and run it on GPU 0 of those that are visible."""
        return TrtEngine(
            self.plan,
            on_device=self.on_device,
            plugins=self.plugins,
            derivations=self.derivations,
            outputs=self.outputs,
        )


def _check_lying(inputs: Mapping[str, TensorSpec], name: str, value: DeviceArray, device: int) -> None:
    spec = inputs.get(name)
    if spec is None or spec.dtype != value.dtype or len(spec.shape) != len(value.shape):
        expected = "; ".join(str(known) for known in inputs.values())
        raise InputError(
            f"Input «{name}» is {value.dtype}{list(value.shape)} on the GPU, but the plan wants {expected}."
        )
    if value.device != device:
        raise InputError(
            f"Input «{name}» lies on GPU {value.device}, but the plan runs on GPU {device}: copy it there."
        )


def _narrowed(value: AnyArray, spec: TensorSpec | None) -> AnyArray:
    array = np.asarray(value)
    if spec is None or array.dtype != np.int64 or spec.dtype != np.int32:
        return array
    info = np.iinfo(np.int32)
    if array.size and not (info.min <= array.min() and array.max() <= info.max):
        raise InputError(f"Input «{spec.name}» holds integers beyond 32 bits, which this TensorRT cannot take.")
    return array.astype(np.int32)
