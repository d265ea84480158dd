"""A plan in a process: deserialized once, for as many contexts as threads want."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from typing_extensions import Self

from quantlab.engines.cuda.memory import Device, devices
from quantlab.engines.engine import TensorSpec
from quantlab.engines.tensorrt.build_options import Profile
from quantlab.engines.tensorrt.capabilities import RTX_GPUS, parse_version
from quantlab.engines.tensorrt.card import PlanCard
from quantlab.engines.tensorrt.inspection import inspected
from quantlab.engines.tensorrt.network import load_plugins
from quantlab.engines.tensorrt.plan import Plan
from quantlab.engines.tensorrt.runtime import Library, library
from quantlab.errors import InputError, MachineError, StaleError

_DTYPES = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
    "UINT8": np.uint8,
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """An engine in TensorRT's memory, and the runtime that must outlive it."""

    lib: Library
    runtime: Any
    engine: Any
    device: Device
    profiles: tuple[Profile, ...]

    @classmethod
    def of(cls, plan: Plan, *, device: int, plugins: tuple[str, ...]) -> Self:
        """Load a plan.

        Raises
        ------
        StaleError
            When it is for another TensorRT version or GPU.
        MachineError
            When there is no GPU or no TensorRT.
        InputError
            When TensorRT cannot load it, or its weights were left out.
        """
        if plan.card.stripped:
            raise InputError(
                f"The plan of «{plan.card.model_name}» was built without its weights (--strip): to run, it must get them back by "
                "refitting, which quantlab does not do. Build it without strip."
            )
        lib = library(plan.card.library)  # type: ignore[arg-type]
        if not devices():
            raise MachineError(
                f"{lib.title} builds plans here, but running one needs an NVIDIA GPU and its driver. "
                "`ql.engines.ort` with optimize=False simulates the Q/DQ model on the CPU."
            )
        gpu = Device(device)
        check_fits(plan.card, lib.version, gpu.name, gpu.compute_capability)
        with lib.log.heard() as heard:
            load_plugins(lib, plugins)
            try:
                runtime = lib.module.Runtime(lib.log.logger)
            except TypeError as error:  # pybind11's word for a null pointer
                raise MachineError(
                    f"{lib.title} cannot run on {gpu.name}: {heard.first_error}.{_advice(lib)}"
                ) from error
            if plan.card.version_compatible:
                runtime.engine_host_code_allowed = True
            engine = runtime.deserialize_cuda_engine(plan.data)
        if engine is None:
            raise InputError(
                f"{lib.title} cannot load the plan of «{plan.card.model_name}»: {heard.first_error}.{_advice(lib)}"
            )
        return cls(lib, runtime, engine, gpu, tuple(Profile(dict(p)) for p in plan.card.profiles))  # type: ignore[arg-type]

    def specs(self, *, inputs: bool) -> dict[str, TensorSpec]:
        """Return the specifications of the inputs, or of the outputs, in the engine's order.

        Raises
        ------
        InputError
            For an element type that no array of numpy has.
        """
        trt, engine = self.lib.module, self.engine
        wanted = trt.TensorIOMode.INPUT if inputs else trt.TensorIOMode.OUTPUT
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        return {name: self._spec(name) for name in names if engine.get_tensor_mode(name) == wanted}

    def _spec(self, name: str) -> TensorSpec:
        kind = self.engine.get_tensor_dtype(name).name
        if kind not in _DTYPES:
            raise InputError(f"Tensor «{name}» has type {kind}, which no batch of arrays can hold.")
        shape = tuple(None if n < 0 else int(n) for n in self.engine.get_tensor_shape(name))
        # A free first dimension is the batch; it has one name, so that outputs can be told from inputs.
        named = tuple("batch" if i == 0 and n is None else n for i, n in enumerate(shape))
        return TensorSpec(name, np.dtype(_DTYPES[kind]), named)

    def inspect(self, context: Any) -> str:
        """Return the engine inspector's JSON text."""
        return inspected(self.lib.module, self.engine, context)


def _advice(lib: Library) -> str:
    return f" {RTX_GPUS}" if lib.name == "tensorrt_rtx" else ""


def check_fits(card: PlanCard, version: str, device: str, capability: str) -> None:
    """Refuse a plan that is for another TensorRT or another GPU: TensorRT would fail late, or run it badly.

    Raises
    ------
    StaleError
        With what to do.
    """
    if card.version_compatible and parse_version(version) < parse_version(card.version):
        raise StaleError(
            f"The plan was built by {card.library} {card.version}, and here is {version}: a version-compatible plan runs on "
            "its own version and on later ones. Build it again here."
        )
    if card.version != version and not card.version_compatible:
        raise StaleError(
            f"The plan was built by {card.library} {card.version}, and here is {version}: a plan belongs to the version that "
            "built it. Build it again here, or build with version_compatible (--version-compatible)."
        )
    if card.hardware_compatible or not card.device:
        return
    if (card.device, card.compute_capability) != (device, capability):
        raise StaleError(
            f"The plan was built for {card.device} (compute capability {card.compute_capability}), and here is {device} "
            f"({capability}): build it again here, or build with hardware_compatible (--hardware-compatible)."
        )
