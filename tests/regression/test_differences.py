"""What changed between two runs, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quantlab.comparison.backends import Backends
from quantlab.regression.differences import differences, methods_of
from quantlab.regression.run import Run
from tests.regression.runs import answers, identity, run, scales, table

LABELS, CLASSES = answers(50)
ONE = replace(
    run(table(LABELS, CLASSES), scale=scales({"a": 0.1})),
    model="sha256:aaaaaaaaaaaa",
    int8_model="sha256:1111111111",
    versions={"quantlab": "0.1.0", "tensorrt": "10.3"},
    target="tensorrt@10.3",
    method="Entropy()",
)


def evaluated(**preprocess: object) -> Run:
    found = replace(ONE.comparison, data=identity("evaluation", 50, preprocess))
    return replace(ONE, comparison=found)


@pytest.mark.parametrize(
    ("other", "phrase"),
    [
        (replace(ONE, model="sha256:bbbbbbbbbbbb"), "the model (sha256:aaaaaaaa… → sha256:bbbbbbbb…)"),
        (replace(ONE, method="MinMax()"), "the method (Entropy() → MinMax())"),
        (replace(ONE, target="ort"), "the target (tensorrt@10.3 → ort)"),
        (replace(ONE, versions={"quantlab": "0.1.0", "tensorrt": "11.0"}), "tensorrt (10.3 → 11.0)"),
        (
            replace(ONE, scales=scales({"a": 0.1}, data="two")),
            "the calibration data («one», 512 samples → «two», 512 samples)",
        ),
        (replace(ONE, int8_model="sha256:2222222222"), "the INT8 model (sha256:11111111… → sha256:22222222…)"),
        (replace(ONE, scales=scales({"a": 0.2})), "the scales of 1 of 1 tensors"),
        (evaluated(mean=0.5), "the evaluation's preprocessing (mean not given → 0.5)"),
    ],
)
def test_each_change_is_one_phrase(other: Run, phrase: str) -> None:
    assert differences(ONE, other) == (phrase,)


def test_nothing_changed_says_nothing() -> None:
    assert differences(ONE, ONE) == ()


def test_what_is_known_of_one_run_alone_is_no_difference() -> None:
    assert differences(ONE, replace(ONE, model="", int8_model="", versions={}, target="", method="", scales=None)) == ()


def test_a_cause_stands_for_its_consequences() -> None:
    other = replace(ONE, scales=scales({"a": 0.3}, data="two"), int8_model="sha256:2222222222")
    assert len(differences(ONE, other)) == 1


def test_another_runtime_is_told() -> None:
    backends = Backends("onnxruntime 1.31.1 CPU", "TensorRT 11.0")
    found = differences(ONE, replace(ONE, comparison=replace(ONE.comparison, backends=backends)))
    assert any("what runs INT8" in phrase and "TensorRT 11.0" in phrase for phrase in found)


def test_a_method_named_by_a_job_is_the_one_that_the_scales_name() -> None:
    job = replace(ONE, method="squared-error")
    steps = replace(ONE, method="")
    assert methods_of(job, steps) == methods_of(steps, steps)
    assert not [phrase for phrase in differences(job, steps) if "method" in phrase]
