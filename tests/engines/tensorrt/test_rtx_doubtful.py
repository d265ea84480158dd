"""The linter beside TensorRT-RTX's own parser and builder, on illegal and doubtful Q/DQ.

TensorRT-RTX chooses kernels on the machine that runs the plan, so its builder checks less than TensorRT's: where it builds
what the linter calls an error, `why` says what speaks against the model. What the linter says for TensorRT 8.6 rests on
the sources of that version's parser and its headers, not on a run.
"""

from __future__ import annotations

import numpy as np
import pytest

from quantlab.errors import InputError
from quantlab.graph.finding import Finding
from quantlab.graph.lint import lint_qdq
from quantlab.graph.model import load_model
from quantlab.graph.target import Target
from tests.engines.tensorrt.doubtful_case import Case, Severity
from tests.engines.tensorrt.doubtful_models import convolution
from tests.engines.tensorrt.doubtful_numbers import NUMBERS
from tests.engines.tensorrt.doubtful_types import TYPES
from tests.engines.tensorrt.oracle import Oracle

DOUBTFUL = NUMBERS + TYPES
_ORDER: tuple[Severity, ...] = ("error", "warning", "note")


def worst(findings: tuple[Finding, ...]) -> tuple[Severity, list[str]]:
    """Return the worst severity and the rules found with it."""
    found = {f.severity for f in findings}
    severity: Severity = next((s for s in _ORDER if s in found), "silent")
    return severity, [f.rule for f in findings if f.severity == severity]


@pytest.mark.parametrize("case", DOUBTFUL, ids=lambda case: case.name)
def test_the_linter_agrees_with_the_parser_and_builder_or_says_why_it_is_stricter(case: Case, rtx: Oracle) -> None:
    verdict = rtx.ask(case.proto)
    assert (f"{verdict.refused_by} refuses" if verdict.refused_by else "builds") == case.oracle, verdict
    assert case.says in " ".join(verdict.errors)
    severity, rules = worst(lint_qdq(load_model(case.proto), Target.parse("tensorrt@11.0")))
    assert severity == case.linter
    assert case.rule in rules or severity == "silent"
    if severity == "error" and not verdict.refused_by:
        assert case.why
    assert verdict.refused_by == "" or severity == "error"


@pytest.mark.parametrize("case", DOUBTFUL, ids=lambda case: case.name)
def test_for_tensorrt_8_the_linter_knows_what_its_parser_lacks(case: Case) -> None:
    severity, rules = worst(lint_qdq(load_model(case.proto), Target.parse("tensorrt@8.6")))
    expected = case.older or (case.linter, case.rule)
    assert severity == expected[0]
    assert expected[1] in rules or severity == "silent"


def test_tensorrt_says_itself_that_uint8_is_read_as_int8(rtx: Oracle) -> None:
    (warning,) = {w.split(": ")[1] for w in rtx.ask(convolution(z=np.uint8(0))).warnings}
    assert "Defaulting to INT8" in warning


def test_an_axis_below_opset_13_is_no_valid_onnx(rtx: Oracle) -> None:
    proto = convolution(opset=12)
    assert rtx.ask(proto).plan > 0  # its parser takes the attribute in any opset
    with pytest.raises(InputError, match="Unrecognized attribute: axis"):
        load_model(proto)
