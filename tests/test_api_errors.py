"""What a notebook user gets wrong: one sentence, and never Python's own error from the inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantlab as ql
from quantlab.errors import QuantlabError
from tests.networks import image_batch, small_cnn


def histograms() -> Any:
    with ql.engines.ort(small_cnn(), expose="quantizable") as engine:
        return ql.collect(engine, [{"image": image_batch(3)}])


WRONG: dict[str, Callable[[], object]] = {
    "collect on a path": lambda: ql.collect("model.onnx", []),  # type: ignore[arg-type]
    "a method's name": lambda: ql.calibrate(histograms(), "squared-error"),
    "a method's class": lambda: ql.calibrate(histograms(), ql.SquaredError),
    "a histogram file's name": lambda: ql.calibrate("run/histograms.h5"),  # type: ignore[arg-type]
    "no histograms": lambda: ql.calibrate({}),
    "a table's file name": lambda: ql.quantize(small_cnn(), "run/scales.json"),  # type: ignore[arg-type]
    "a number for a range": lambda: ql.calibrate(histograms()).override("image", 3),  # type: ignore[arg-type]
    "a number for a model": lambda: ql.engines.ort(3),
    "the result of quantize for a model": lambda: ql.engines.ort(ql.quantize(small_cnn(), ql.calibrate(histograms()))),
    "an array for a file": lambda: ql.data.arrays(np.zeros(3)),  # type: ignore[arg-type]
    "a dict for a preprocessing": lambda: ql.data.images(".", preprocess={"color": "GRAY"}),  # type: ignore[arg-type]
    "text for a percentile": lambda: ql.Percentile("a"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_a_wrong_argument_is_one_sentence(call: Callable[[], object], tmp_path: Path) -> None:
    with pytest.raises(QuantlabError) as caught:
        call()
    assert "\n" not in str(caught.value)
