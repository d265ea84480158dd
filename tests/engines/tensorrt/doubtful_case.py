"""A doubtful model with both verdicts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import onnx

Severity: TypeAlias = Literal["error", "warning", "note", "silent"]
Fate: TypeAlias = Literal["parser refuses", "builder refuses", "builds"]


@dataclass(frozen=True)
class Case:
    """A model, what TensorRT-RTX does with it, and the worst that the linter says for tensorrt@11.0.

    `says`: part of TensorRT's own sentence. `older`: the worst and its rule for tensorrt@8.6, where it is another.
    `why`: needed where the linter is stricter.
    """

    name: str
    proto: onnx.ModelProto = field(repr=False)
    oracle: Fate
    linter: Severity
    rule: str = ""
    says: str = ""
    why: str = ""
    older: tuple[Severity, str] | None = None
