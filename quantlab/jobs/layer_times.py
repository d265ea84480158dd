"""Step: a plan in, each layer's median milliseconds out, beside the plan; needs the plan's GPU."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from quantlab import engines
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
    """Time the plan's layers on random numbers at its first profile's best shapes, and write them beside it.

    Raises
    ------
    MachineError
        Without a GPU.
    """
    best = {name: shapes[1] for name, shapes in plan.card.profiles[0].items()} if plan.card.profiles else {}
    with engines.trt(plan, options=options) as engine:
        batch = {name: _drawn(spec, best.get(name)) for name, spec in engine.inputs.items()}
        times = engine.profile(batch, rounds=_ROUNDS)
    write_text(times_path(path), json.dumps(times, ensure_ascii=False, indent=1) + "\n")
    return times


def _drawn(spec: TensorSpec, best: tuple[int, ...] | None) -> AnyArray:
    shape = best or tuple(size if isinstance(size, int) else 1 for size in spec.shape)
    if spec.dtype.kind != "f":
        return np.zeros(shape, spec.dtype)
    return np.random.default_rng(0).normal(size=shape).astype(spec.dtype)
