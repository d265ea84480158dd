"""What INT8 costs the network that ships: `python -m tests.benchmarks.fashion`, after `make demo` or by itself."""

import tempfile
from pathlib import Path
from typing import Any

from quantlab.comparison.comparison import Comparison
from quantlab.jobs.job_file import read_job
from quantlab.jobs.run import run_job
from quantlab.jobs.step import Progress
from tests.benchmarks.figures import write_figures

JOB = Path(__file__).parents[2] / "calib_data" / "fashion.yaml"


class _Silent:
    def begins(self, number: int, total: int, title: str) -> Progress:
        return lambda _done, _total: None

    def ended(self, number: int, total: int, text: str, seconds: float) -> None:
        pass


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        result = run_job(read_job(JOB, [f"output={folder}"]), listener=_Silent())
    figures: dict[str, tuple[Any, str]] = {"chosen on tuning": (result.chosen, "")}
    for method, comparison in result.tuning.items():
        figures |= {f"tuning, {method}: {what}": figure for what, figure in _figures(comparison).items()}
    for name, scored in (("TensorRT simulated", result.final), ("ort", result.ort)):
        if scored is not None:
            figures |= {f"evaluation, {name}: {what}": figure for what, figure in _figures(scored).items()}
    write_figures("fashion", "python -m tests.benchmarks.fashion", figures)


def _figures(result: Comparison) -> dict[str, tuple[Any, str]]:
    top1 = result.metrics[0]
    figures: dict[str, tuple[Any, str]] = {
        "top-1 FP32 / INT8": (f"{top1.fp32:.4f} / {top1.int8:.4f}", f"of {result.samples} images"),
        "top-1 drop": (round(top1.drop, 2), "points"),
        "95 % interval of the drop": (f"{top1.interval.low:.2f} … {top1.interval.high:.2f}", "points"),
        "agreement with FP32's argmax": (round(result.agreement.score, 4), "share"),
        "logit SQNR": (round(result.outputs[0].sqnr_db, 2), "dB"),
        "backend of INT8": (result.backends.int8, ""),
    }
    if result.latency is not None:
        figures["FP32's time / INT8's"] = (round(result.latency.speed, 2), "ratio")
    return figures


if __name__ == "__main__":
    main()
