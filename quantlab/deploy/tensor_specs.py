"""Inputs and outputs as they really are: of a model that ONNX Runtime has loaded, of a plan that TensorRT has, or of its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from quantlab import engines
from quantlab.engines.cuda.memory import devices
from quantlab.engines.engine import TensorSpec
from quantlab.engines.tensorrt.build_options import Profile
from quantlab.engines.tensorrt.capabilities import has
from quantlab.engines.tensorrt.card import PlanCard
from quantlab.engines.tensorrt.loaded import Loaded
from quantlab.engines.tensorrt.plan import Plan
from quantlab.errors import InputError, MachineError, StaleError, UsageError
from quantlab.graph.model import Model

_STANDARD = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})


@dataclass(frozen=True, slots=True)
class Ends:
    """A network's inputs and outputs, and who told of them."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    teller: str

    @property
    def runtime(self) -> str:
        """Its name and version, without what differs between processors."""
        return " ".join(self.teller.split(" ")[:2])


def ends_of_model(model: Model) -> Ends:
    """Return what ONNX Runtime says of a model that it has loaded.

    Raises
    ------
    InputError
        When it cannot load it.
    """
    with engines.ort(model, optimize=False, threads=1) as engine:
        return Ends(engine.inputs, engine.outputs, engine.backend)


def foreign_domains(proto: onnx.ModelProto) -> tuple[str, ...]:
    """Return the domains of operators that ONNX Runtime does not have."""
    own = {(function.domain, function.name) for function in proto.functions}
    used = {node.domain for node in proto.graph.node if (node.domain, node.op_type) not in own}
    return tuple(sorted(used - _STANDARD))


def ends_of_plan(plan: Plan, model: Model | None) -> Ends:
    """Return a plan's inputs and outputs: TensorRT's word where it and a GPU are here, else what its model says.

    Raises
    ------
    MachineError
        When neither can tell.
    StaleError
        When the model is not the one that the plan was built from, or the plan is of another TensorRT or GPU.
    InputError
        When TensorRT cannot load the plan, or the model says something else than it.
    """
    if model is not None and model.digest != plan.card.model:
        raise StaleError(
            f"The plan was built from «{plan.card.model_name}» ({plan.card.model[:19]}…), and '{model.name}' is "
            f"{model.digest[:19]}…: give the model that it was built from."
        )
    told = _as_tensorrt(ends_of_model(model), plan.card) if model is not None else None
    try:
        loaded = _loaded(plan)
    except MachineError as error:
        if told is None:
            raise MachineError(
                f"A plan's inputs and outputs are known to the TensorRT that loads it, and here none can ({error}): give --model, "
                "the ONNX file that it was built from."
            ) from error
        return told
    if told is not None:
        _check_alike(loaded, told)
    return loaded


def _loaded(plan: Plan) -> Ends:
    if not devices():
        raise MachineError("there is no NVIDIA GPU")
    if plan.card.plugins:
        raise MachineError("it needs plugins, and quantlab loads no library that is not named")
    held = Loaded.of(plan, device=0, plugins=())
    return Ends(held.specs(inputs=True), held.specs(inputs=False), f"{held.lib.name} {held.lib.version}")


def profiles_of(card: PlanCard) -> tuple[Profile, ...]:
    """Return a plan's optimization profiles.

    Raises
    ------
    InputError
        When the card's shapes cannot be.
    """
    try:
        return tuple(Profile(dict(shapes)) for shapes in card.profiles)  # type: ignore[arg-type]
    except UsageError as error:
        raise InputError(f"The plan's card is damaged: {error}") from error


def _as_tensorrt(ends: Ends, card: PlanCard) -> Ends:
    """Return the model's ends in TensorRT's types: it has no float64, and before 9 no int64."""
    narrowed: dict[str, np.dtype[Any]] = {"float64": np.dtype(np.float32)}
    if not has("int64 tensors", card.library, card.version):
        narrowed["int64"] = np.dtype(np.int32)

    def typed(specs: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
        return {name: replace(spec, dtype=narrowed.get(spec.dtype.name, spec.dtype)) for name, spec in specs.items()}

    return Ends(typed(ends.inputs), typed(ends.outputs), f"{ends.runtime}, of the model")


def _check_alike(plan: Ends, model: Ends) -> None:
    for own, other in ((plan.inputs, model.inputs), (plan.outputs, model.outputs)):
        names = sorted(set(own) ^ set(other))
        if names:
            raise InputError(f"The plan and its model differ in «{names[0]}», which only one of them has.")
        for name, spec in own.items():
            if len(spec.shape) != len(other[name].shape):
                raise InputError(f"TensorRT says {spec}, and the model {other[name]}: the card is not this plan's.")
