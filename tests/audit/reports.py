"""Reports of an engine inspector, written by hand in the schema of TensorRT 8.6, and the recorded ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from quantlab.audit.profile import parse_profile

GOLDEN = Path(__file__).parents[1] / "golden" / "trt-8.6"
IMPLICIT, EXPLICIT = "int8_entropy2_b128", "qdq_w8_b128"
CACHE, QDQ, QDQ_HEAD, FP16 = "lite0_cache", "lite0_qdq", "lite0_qdq_head_int8", "lite0_fp16"
"""Engines with a profile each for batches of 1, 32 and 128, built with quantlab's cache and Q/DQ."""

WORDS = {
    "INT8": "Thirty-two wide channel vectorized row major Int8 format",
    "FP16": "Channel major FP16 format where channel % 8 == 0",
    "FP32": "Row major linear FP32",
}


def recorded(name: str) -> str:
    """Return the text that TensorRT 8.6.0 gave on an H200."""
    return gzip.decompress((GOLDEN / f"{name}.inspector.json.gz").read_bytes()).decode()


def times(name: str) -> dict[str, float]:
    """Return the milliseconds that its profiler gave for each layer at batch 128, the third profile's."""
    return parse_profile(gzip.decompress((GOLDEN / f"{name}.b128.times.json.gz").read_bytes()).decode())


def tensor(text: str) -> dict[str, Any]:
    """Return the tensor that «name INT8» describes."""
    name, _, precision = text.rpartition(" ")
    return {"Name": name, "Location": "Device", "Dimensions": [1, 8, 4, 4], "Format/Datatype": WORDS[precision]}


def layer(name: str, kind: str, reads: str, writes: str, *nodes: str, **more: Any) -> dict[str, Any]:
    """Return a layer; tensors are separated by commas, as in «a INT8, b FP32»."""
    return {
        "Name": name,
        "LayerType": kind,
        "Inputs": [tensor(part.strip()) for part in reads.split(",") if part],
        "Outputs": [tensor(part.strip()) for part in writes.split(",") if part],
        "Metadata": "\x1e".join(f"[ONNX Layer: {node}]" for node in nodes),
        **more,
    }


def report(*layers: dict[str, Any], bindings: tuple[str, ...] = ("image", "y")) -> str:
    """Return the report, control characters raw as TensorRT 8.6 writes them."""
    return json.dumps({"Layers": list(layers), "Bindings": list(bindings)}).replace("\\u001e", "\x1e")
