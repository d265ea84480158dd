"""Bundles and plans for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quantlab.engines.tensorrt.card import PlanCard
from quantlab.engines.tensorrt.plan import Plan, digest_of, write_plan
from quantlab.graph.model import load_model

DATA = b"what TensorRT would have written"


def plan_of(source: Path, path: Path, **changed: Any) -> Path:
    """Write a plan that says it needs a plugin, so that no machine loads it: what its card tells is all there is."""
    fields: dict[str, Any] = {
        "library": "tensorrt", "version": "8.6.1", "device": "NVIDIA H200", "compute_capability": "9.0",
        "version_compatible": False, "hardware_compatible": False, "precision": ("int8",), "scales": "Q/DQ",
        "scales_digest": "", "model": load_model(source).digest, "model_name": source.name, "digest": digest_of(DATA),
        "layers_digest": "", "size": len(DATA), "build_seconds": 1.0, "device_memory": None, "stripped": False,
        "plugins": ("libown.so",), "profiles": ({"image": ((1, 1, 8, 8), (8, 1, 8, 8), (16, 1, 8, 8))},),
    }  # fmt: skip
    write_plan(path, Plan(DATA, PlanCard(**fields | changed)))
    return path
