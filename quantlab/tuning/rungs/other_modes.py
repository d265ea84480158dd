"""The two modes that static quantization is compared with: weights alone, and ranges found at run time."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from quantlab import engines
from quantlab.engines.dynamic_quantization import quantize_dynamic
from quantlab.errors import QuantlabError
from quantlab.graph.model import Model
from quantlab.graph.weight_only import store_weights
from quantlab.tuning.ladder import Ladder
from quantlab.tuning.trial import Trial

RUNG = "other modes"


def climb(ladder: Ladder) -> None:
    """Measure them; none is ever kept, as TensorRT takes only INT4 weights of them."""
    reference = ladder.ground.scorer.reference
    makers: dict[str, Callable[[], Any]] = {
        "weights INT8": lambda: store_weights(reference),
        "weights INT4, blocks of 32": lambda: store_weights(reference, block=32),
        "dynamic": lambda: quantize_dynamic(reference),
    }
    for label, make in makers.items():
        known = ladder.journal.known(RUNG, label)
        ladder.note(known or _measured(ladder, label, make), known=known is not None)


def _measured(ladder: Ladder, label: str, make: Callable[[], Any]) -> Trial:
    began = perf_counter()
    try:
        model: Model = make().model
        with engines.ort(model, threads=ladder.ground.threads) as engine:
            score = ladder.ground.scorer.score_engine(engine)
    except QuantlabError as error:
        return Trial(RUNG, label, "", note=str(error), seconds=perf_counter() - began)
    return Trial(
        RUNG, label, "for comparison, in ONNX Runtime", score, False, ladder.ground.target.judged(score),
        ladder.score.mean_sqnr_db, 0, perf_counter() - began, "never kept",
    )  # fmt: skip
