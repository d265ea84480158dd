"""How far equalizing and smoothing move FP32's own outputs: `python -m tests.benchmarks.tuning.exactness --models MODELS`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from quantlab import engines
from quantlab.comparison.recording import record
from quantlab.graph.equalize import equalize
from quantlab.graph.model import Model, load_model
from quantlab.graph.normalise import normalise
from quantlab.graph.smooth import smooth
from quantlab.graph.smooth import wanted as smoothed_inputs
from quantlab.tuning.peaks import channel_peaks
from quantlab.tuning.scoring import Held
from tests.benchmarks.figures import reference, write_figures
from tests.benchmarks.tuning.subjects import SUBJECTS, Places, Subject, open_subject

SAMPLES = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    asked = parser.parse_args()
    figures: dict[str, tuple[float | int | str, str]] = {}
    for name in asked.only:
        subject = open_subject(name, Places(asked.models, reference()))
        model = normalise(load_model(subject.model)).model
        made = equalize(model)
        figures[f"{name}: pairs equalized"] = (len(made.pairs), "pairs")
        figures[f"{name}: outputs moved by equalizing"] = (moved(subject, made.model), "of the largest value")
        inputs = smoothed_inputs(model)
        if len(inputs) > 2:
            peaks = channel_peaks(model, dict.fromkeys(inputs, -1), subject.calibration, samples=SAMPLES)
            scaled = smooth(model, peaks)
            figures[f"{name}: inputs smoothed"] = (len(scaled.migrations), "tensors")
            figures[f"{name}: outputs moved by smoothing"] = (moved(subject, scaled.model), "of the largest value")
    write_figures("equalization", "python -m tests.benchmarks.tuning.exactness --models MODELS", figures)


def moved(subject: Subject, model: Model) -> float:
    """Return the largest difference of FP32's outputs, relative to the output's largest magnitude."""
    found = []
    for each in (subject.model, model):
        with engines.ort(each, optimize=False, threads=1) as engine:
            for _ in subject.tuning:
                pass
            found.append(record(engine, Held.of(subject.tuning, engine.inputs, SAMPLES)).outputs)
    before, after = found
    return max(float(np.abs(after[name] - before[name]).max() / np.abs(before[name]).max()) for name in before)


if __name__ == "__main__":
    main()
