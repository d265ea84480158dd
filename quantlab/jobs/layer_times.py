"""Step: a plan in, each layer's median milliseconds out, beside the plan; needs the plan's GPU."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from quantlab import engines
from quantlab.audit.inspector import without_profile
from quantlab.engines.cuda.memory import Device
from quantlab.engines.engine import TensorSpec
from quantlab.engines.tensorrt.build_options import BuildOptions
from quantlab.engines.tensorrt.plan import Plan
from quantlab.numerics.arrays import AnyArray
from quantlab.storage.text import write_text

_ROUNDS = 50


def times_path(plan: Path) -> Path:
    """Return where the times go: the plan's path with «.profile.json» appended."""
    return plan.with_name(f"{plan.name}.profile.json")


def check_gpu(device: int) -> None:
    """Refuse to time where there is nothing to time on, before a plan is built for it.

    Raises
    ------
    MachineError
        Without a GPU, or without cuda-python.
    """
    Device(device)


def write_layer_times(path: Path, plan: Plan, options: BuildOptions) -> Mapping[str, float]:
    """Time the plan's layers on random numbers at each profile's best shapes, and write them beside it.

    A profile with the best shapes of one before it is left out: the engine would run that one.

    Raises
    ------
    MachineError
        Without a GPU.
    """
    times: dict[str, float] = {}
    seen: list[dict[str, tuple[int, ...]]] = []
    with engines.trt(plan, options=options) as engine:
        for number, profile in enumerate(plan.card.profiles or ({},)):
            best = {name: shapes[1] for name, shapes in profile.items()}
            batch = {name: _drawn(spec, best.get(name)) for name, spec in engine.inputs.items()}
            shapes = {name: value.shape for name, value in batch.items()}
            if shapes not in seen:
                times |= of_profile(engine.profile(batch, rounds=_ROUNDS), number)
            seen.append(shapes)
    write_text(times_path(path), json.dumps(times, ensure_ascii=False, indent=1) + "\n")
    return times


def of_profile(times: Mapping[str, float], number: int) -> dict[str, float]:
    """Return a profile's times under the names that the inspector gives its layers: all but the first's are marked."""
    marked = {name: number and not without_profile(name)[1] for name in times}
    return {f"{name} [profile {number}]" if marked[name] else name: time for name, time in times.items()}


def _drawn(spec: TensorSpec, best: tuple[int, ...] | None) -> AnyArray:
    shape = best or tuple(size if isinstance(size, int) else 1 for size in spec.shape)
    if spec.dtype.kind != "f":
        return np.zeros(shape, spec.dtype)
    return np.random.default_rng(0).normal(size=shape).astype(spec.dtype)
