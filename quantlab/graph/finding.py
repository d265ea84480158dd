"""What the linter says of one place in a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx

Severity = Literal["error", "warning", "note"]
"""error: the runtime refuses the model or computes something else; warning: slower or less exact than need be; note:
as it may be meant."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule.

    Attributes
    ----------
    rule
        Its short name, the same for every finding of the kind.
    severity
        error, warning or note.
    node, tensor
        The place; "" where there is none.
    message
        What is wrong.
    fix
        What to do.
    """

    rule: str
    severity: Severity
    node: str
    tensor: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.severity} [{self.rule}] {self.node or self.tensor}: {self.message} {self.fix}"


def label(node: onnx.NodeProto) -> str:
    """Return the name of a node, or its operator and first output if it has none."""
    return node.name or f"{node.op_type} of '{node.output[0] if node.output else ''}'"
