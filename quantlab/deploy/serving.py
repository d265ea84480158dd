"""A Triton model configuration from a network's real inputs and outputs: fields of `ModelConfig`, as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from quantlab.deploy.names import checked_name
from quantlab.engines.engine import TensorSpec
from quantlab.engines.tensorrt.build_options import DEFAULT_LARGEST_BATCH, Profile
from quantlab.errors import InputError, UsageError

Device: TypeAlias = Literal["auto", "gpu", "cpu"]
Platform: TypeAlias = Literal["tensorrt_plan", "onnxruntime_onnx"]

_TYPES = {
    "bool": "TYPE_BOOL", "uint8": "TYPE_UINT8", "uint16": "TYPE_UINT16", "uint32": "TYPE_UINT32", "uint64": "TYPE_UINT64",
    "int8": "TYPE_INT8", "int16": "TYPE_INT16", "int32": "TYPE_INT32", "int64": "TYPE_INT64", "float16": "TYPE_FP16",
    "float32": "TYPE_FP32", "float64": "TYPE_FP64",
}  # fmt: skip
_KINDS = {"auto": "KIND_AUTO", "gpu": "KIND_GPU", "cpu": "KIND_CPU"}
LABELS = "labels.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How Triton is to serve a network.

    Attributes
    ----------
    name
        The model's name in the repository; empty: from the file's name.
    max_batch
        Most samples that requests may be joined to; None: the plan's largest batch, or 32; 0: no batching.
    preferred
        Batches that the scheduler prefers; None: those that the plan's profiles are tuned for, and none for ONNX.
    queue_delay
        Microseconds that a request may wait for others; None leaves it at Triton's 0.
    instances
        Copies of the network a device.
    device
        gpu, cpu or auto; a plan runs on a GPU alone.
    """

    name: str = ""
    max_batch: int | None = None
    preferred: tuple[int, ...] | None = None
    queue_delay: int | None = None
    instances: int = 1
    device: Device = "auto"

    def __post_init__(self) -> None:
        if self.name:
            checked_name(self.name)
        if self.device not in get_args(Device):
            raise UsageError(f"A network runs on {', '.join(get_args(Device))}, not on «{self.device}».")
        if self.max_batch is not None and not 0 <= self.max_batch < 2**31:
            raise UsageError(f"The largest batch is 0 (none) or a number of samples, not {self.max_batch}.")
        if not 1 <= self.instances <= 1024:
            raise UsageError(f"A device takes 1 … 1024 instances of a network, not {self.instances}.")
        if self.queue_delay is not None and not 0 <= self.queue_delay < 2**63:
            raise UsageError(f"The queue delay is a number of microseconds, not {self.queue_delay}.")


@dataclass(frozen=True, slots=True)
class Served:
    """What Triton is told of a network.

    Attributes
    ----------
    platform
        tensorrt_plan or onnxruntime_onnx.
    inputs, outputs
        Names, types and shapes; a free dimension is a name or None.
    profiles
        A plan's optimization profiles.
    labels
        Output → the file with a label a line.
    """

    platform: Platform
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    profiles: tuple[Profile, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


def config_fields(served: Served, serving: Serving) -> dict[str, Any]:
    """Return the fields of `config.pbtxt`.

    The batch is the first dimension of every input and output where all of them are free and outputs go by inputs' names;
    it is then left out of `dims`, as Triton wants it. Other free dimensions are -1.

    Raises
    ------
    UsageError
        For a batch that the network does not have or its profiles do not take.
    InputError
        For a type that Triton does not know.
    """
    largest = _largest(served, serving)
    fields: dict[str, Any] = {
        "name": serving.name,
        "platform": served.platform,
        "max_batch_size": largest,
        "input": [tensor_fields(served.platform, spec, batched=largest > 0) for spec in served.inputs.values()],
        "output": [
            tensor_fields(served.platform, spec, batched=largest > 0)
            | ({"label_filename": served.labels[name]} if name in served.labels else {})
            for name, spec in served.outputs.items()
        ],
        "instance_group": [_instances(served, serving)],
    }
    if largest > 1:
        fields["dynamic_batching"] = _batching(served, serving, largest)
    elif serving.preferred or serving.queue_delay is not None:
        raise UsageError(
            "Preferred batches and a queue delay are for a network that is served in batches of several samples."
        )
    return fields


def batched(served: Served) -> bool:
    """Tell whether the first dimension of all inputs and outputs is one free batch, as far as names tell."""
    every = (*served.inputs.values(), *served.outputs.values())
    if any(not spec.shape or isinstance(spec.shape[0], int) for spec in every):
        return False
    batches = {spec.shape[0] for spec in served.inputs.values()}
    return len(batches) <= 1 and {spec.shape[0] for spec in served.outputs.values()} <= batches | {None}


def _largest(served: Served, serving: Serving) -> int:
    """Return max_batch_size; 0 where the network has no batch of its own."""
    every = (*served.inputs.values(), *served.outputs.values())
    fixed = next((spec for spec in every if not spec.shape or isinstance(spec.shape[0], int)), None)
    asked = serving.max_batch
    if asked == 0 or (asked is None and not batched(served)):
        return 0
    if fixed is not None:
        raise UsageError(
            f"Tensor «{fixed}» has no free first dimension, so Triton cannot join requests: leave the largest batch out, or "
            "export the model with a free batch."
        )
    # As Triton's TensorRT backend counts: a profile takes what the least of its inputs takes.
    ends = [min((s[2][0] for s in each.shapes.values() if s[2]), default=0) for each in served.profiles]
    most = max(ends, default=0) or None
    if asked is not None and most is not None and asked > most:
        raise UsageError(
            f"The plan's profiles take at most {most} samples, not {asked}: build it with larger --shapes."
        )
    return asked or most or DEFAULT_LARGEST_BATCH


def tensor_fields(platform: Platform, spec: TensorSpec, *, batched: bool) -> dict[str, Any]:
    """Return an input or output as `ModelConfig` has it, without its batch dimension where requests are joined.

    A tensor without dimensions is [1] for clients, as Triton has none. With a batch Triton is told to take that away; without
    one it refuses to be told (`ValidateIOShape` in model_config_utils.cc), and the ONNX backend alone does so unasked.

    Raises
    ------
    InputError
        For a type or a shape that Triton does not know.
    """
    if spec.dtype.name not in _TYPES:
        raise InputError(f"Tensor «{spec.name}» has type {spec.dtype}, which Triton does not know.")
    shape = [n if isinstance(n, int) else -1 for n in spec.shape[1 if batched else 0 :]]
    if 0 in shape or not (shape or batched or platform == "onnxruntime_onnx"):
        raise InputError(
            f"Tensor «{spec}» has {'an empty dimension' if shape else 'no dimensions'}, which Triton does not take here: export "
            "the model with another shape."
        )
    found: dict[str, Any] = {"name": spec.name, "data_type": _TYPES[spec.dtype.name], "dims": shape or [1]}
    return found if shape or not batched else found | {"reshape": {"shape": []}}


def _instances(served: Served, serving: Serving) -> dict[str, Any]:
    plan = served.platform == "tensorrt_plan"
    if plan and serving.device == "cpu":
        raise UsageError("A TensorRT plan runs on a GPU: serve the ONNX model to use a CPU.")
    found: dict[str, Any] = {"count": serving.instances, "kind": _KINDS["gpu" if plan else serving.device]}
    if len(served.profiles) > 1:  # of one profile Triton takes the first unasked
        found["profile"] = [str(number) for number in range(len(served.profiles))]
    return found


def _batching(served: Served, serving: Serving, largest: int) -> dict[str, Any]:
    preferred = serving.preferred if serving.preferred is not None else _tuned_for(served.profiles, largest)
    wrong = [size for size in preferred if not 1 <= size <= largest]
    if wrong:
        raise UsageError(f"A preferred batch lies in 1 … {largest}, the largest batch, not at {wrong[0]}.")
    found: dict[str, Any] = {"preferred_batch_size": sorted(set(preferred))} if preferred else {}
    if serving.queue_delay is not None:
        found["max_queue_delay_microseconds"] = serving.queue_delay
    return found


def _tuned_for(profiles: Iterable[Profile], largest: int) -> tuple[int, ...]:
    best = {shapes[1][0] for profile in profiles for shapes in profile.shapes.values() if shapes[1]}
    return tuple(sorted(size for size in best if 1 <= size <= largest))
