"""Synthetic regressions: the values that a page is made from, without any statistics."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from quantlab.comparison.sample_table import SampleTable
from quantlab.comparison.statistics import Interval
from quantlab.regression.check import Check, verdict_of
from quantlab.regression.regression import Regression, RegressionFlip, ScaleDrift, Side, Slice
from quantlab.regression.run import Run
from tests.report import runs

EVIL = "<img src=x onerror=alert(1)>"
NASTY = (
    EVIL,
    "a|b",
    "`code`",
    "**bold** _it_ ~~no~~",
    "[x](javascript:alert(1))",
    "@someone #12 GH-3",
    "https://evil.example www.evil.example",
    "\x1b[31mred\x00",
    "line\nbreak\r\n# head",
    "]]>&amp;</script>",
    "\u202eright to left",
    "$x$ \\| \\",
    "<!-- -->",
)
PASS = Check("top-5", "pass", 0.1, 1.0, Interval(-0.2, 0.4, 0.9), 0.6, "top-5 fell by 0.10 points.", unit="points")
FAIL = Check("top-1", "fail", 2.0, 0.0, Interval(1.0, 3.0, 0.9), 1e-6, "top-1 fell by 2.00 points.", unit="points")
WARN = Check("output noise", "warn", 4.0, 3.0, None, None, "The output's SQNR fell by 4.0 dB.", unit="dB", level="warn")
OPEN = Check(
    "top-1", "inconclusive", 0.4, 0.0, Interval(-0.3, 1.1, 0.9), 0.2, "top-1 may have fallen.", 9000, unit="points"
)
SLICE = Slice(
    "label", "7", 200, "top-1", 0.9, 0.8, 10.0, Interval(5.0, 15.0, 0.9), "points", 22, 2, 0.001, 0.0005, "fail"
)
DRIFT = ScaleDrift("/stem/Conv_output_0", "activation", 0.02, 0.08, 4.0, 0.3, "fail")


def flip(index: int, name: str = "shoe.png", effect: Any = "worse") -> RegressionFlip:
    return RegressionFlip(index, f"{index:016x}", name, 3, 3, 5, effect)


def regression(*checks: Check, **known: Any) -> Regression:
    """Return a regression with these checks."""
    side = Side("main", 5000, "evaluation", "onnxruntime 1.31.1 CPU", True)
    fields: dict[str, Any] = {
        "verdict": verdict_of(checks),
        "checks": checks,
        "differences": ("the calibration data (a → b)",),
        "baseline": side,
        "candidate": replace(side, name="branch"),
        "samples": 5000,
        "left_out": (0, 0),
        "alpha": 0.05,
        "identical": False,
    }
    return Regression(**(fields | known))


def nasty(name: str) -> Regression:
    """Return a regression that has this name wherever a stranger may put one."""
    check = replace(FAIL, name=name, sentence=f"«{name}» fell.")
    side = Side(name, 5000, name, name, True)
    return regression(
        check,
        replace(WARN, name=name, sentence=name),
        differences=(f"{name} ({name} → {name})", name),
        baseline=side,
        candidate=side,
        slices=(replace(SLICE, by=name, name=name, metric=name),),
        drifts=(replace(DRIFT, tensor=name),),
        flips=(flip(3, name),),
    )


def picture(kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(file, format=kind)
    return file.getvalue()


def run(name: str = "main", **known: Any) -> Run:
    """Return a run with scales, samples and one picture."""
    values = np.ones(10)
    samples = SampleTable(values, values, pictures={3: picture()})
    fields: dict[str, Any] = {
        "comparison": runs.comparison(),
        "samples": samples,
        "scales": next(iter(runs.tables_of(runs.histogram_set(["a"])).values())),
        "model": "sha256:11",
        "int8_model": "sha256:22",
        "versions": {"quantlab": "0.1.0"},
        "target": "tensorrt@10.3",
        "method": "entropy",
    }
    return Run(name, **(fields | known))
