"""The Q/DQ linter: the rules that a runtime keeps, checked on anyone's model without that runtime."""

from __future__ import annotations

from quantlab.graph.finding import Finding, Severity
from quantlab.graph.lint_steps import check_operators, check_quantized, check_steps
from quantlab.graph.lint_structure import check_for_ort, check_structure
from quantlab.graph.model import Model
from quantlab.graph.qdq_view import QdqGraph
from quantlab.graph.target import Target

__all__ = ["Finding", "Severity", "lint_qdq"]


def lint_qdq(model: Model, target: Target) -> tuple[Finding, ...]:
    """Return every finding in the main graph: that there is Q/DQ, operators, then single Q/DQ, then placement, in graph order.

    No error means that the target's parser takes the Q/DQ as it stands; no warning, that it stands in the way of
    none of the runtime's fusions. Neither is proof: that is left to the runtime, which builds the engine.
    """
    qdq = QdqGraph(model.proto)
    structure = check_for_ort if target.tensorrt is None else check_structure
    return (*check_quantized(qdq), *check_operators(qdq, target), *check_steps(qdq, target), *structure(qdq))
