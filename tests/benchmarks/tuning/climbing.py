"""`quantlab tune` on the subjects, beside the peer: every rung's best on the evaluation set, after the search has ended.

`python -m tests.benchmarks.tuning.climbing --models MODELS [--only lite0 fashion …] [-o FOLDER]` adds to the JSON of
`peers` a row a rung and the final one; a search that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from quantlab.atomic import atomic_path
from quantlab.builder import QuantizeOptions
from quantlab.comparison.recording import record
from quantlab.numerics.arrays import F64, Tensors
from quantlab.tuning.candidate import Candidate
from quantlab.tuning.journal import FILE, Journal
from quantlab.tuning.scoring import Held
from quantlab.tuning.target import Target
from quantlab.tuning.trial import Trial
from quantlab.tuning.tune import TuneOptions, tune
from quantlab.versions import versions
from tests.benchmarks.figures import reference
from tests.benchmarks.tuning.boxes import BoxPrecision
from tests.benchmarks.tuning.scoring import TARGET, answers, beside, qdq_facts, scored
from tests.benchmarks.tuning.subjects import SUBJECTS, Places, Subject, open_subject

Row = dict[str, Any]
RUNG = "rung: "

TARGETS = {
    "lite0": Target(0.5, min_agreement=0.985, min_sqnr_db=21.0),
    "lite1": Target(0.5, min_agreement=0.985, min_sqnr_db=21.0),
    "fashion": Target(0.3, min_agreement=0.996),
    "digits10": Target(0.3),
    "digits30": Target(0.3),
    "minilm": Target(None, min_fidelity=0.998),
    "ocr": Target(None, min_fidelity=0.995),
    "yolo": Target(None, min_fidelity=0.96),
}
"""Tighter than what is to be shown where the tuning set chooses: it flatters."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="what `prepare` and the exports filled")
    parser.add_argument("--only", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--fresh", action="store_true", help="forget a search that is there")
    asked = parser.parse_args()
    folder: Path = asked.output or asked.models / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for name in asked.only:
        measure(open_subject(name, Places(asked.models, reference())), folder, fresh=asked.fresh)


def measure(subject: Subject, folder: Path, *, fresh: bool) -> None:
    """Search, then score the best of every rung on the evaluation set, and write the rows."""
    path = folder / f"{subject.name}.json"
    document: dict[str, Any] = {"subject": subject.name, "rows": {}}
    if path.is_file():
        document = json.loads(path.read_text(encoding="utf-8"))
    search = folder / f"{subject.name}.search"
    began, spent = time.perf_counter(), time.process_time()
    found = tune(
        subject.model,
        subject.calibration,
        tuning=subject.tuning,
        target=TARGETS[subject.name],
        options=TuneOptions(
            quantize=QuantizeOptions(target=TARGET),
            metrics=subject.labelled,
            fidelity=fidelity_of(subject),
            folder=search,
            fresh=fresh,
            on_trial=say,
        ),
    )
    seconds = {
        "wall": round(time.perf_counter() - began, 1),
        "cpu": round(time.process_time() - spent, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }
    sys.stdout.write(f"{subject.name}: {found.verdict}\n")
    rungs = _kept(found.trials)
    document["tune"] = {
        "verdict": found.verdict,
        "seconds": seconds,
        "float operators": list(found.candidate.options.keep_float),
        "trials": json.loads(found.frame().to_json(orient="records")),
        "versions": versions(""),
    }
    document["rows"] = {name: row for name, row in document["rows"].items() if not name.startswith(RUNG)}
    fp32 = answers(subject.model, subject.evaluation, optimize=True)
    asked = json.loads((search / FILE).read_text(encoding="utf-8"))["asked"]
    journal = Journal(search, asked, QuantizeOptions(target=TARGET))
    for rung, trial in rungs.items():
        candidate = journal.candidate(trial)
        document["rows"][f"{RUNG}{rung}"] = _scored(subject, candidate, fp32) | {"trial": trial.label}
    document["rows"]["tune"] = _scored(subject, found.candidate, fp32, folder) | {"seconds": seconds}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stdout.write(f"{subject.name}, final: {json.dumps(document['rows']['tune'], ensure_ascii=False)}\n")
    sys.stdout.flush()


def fidelity_of(subject: Subject) -> Callable[[Tensors, Tensors], Any] | None:
    """Return what `tune` compares a network without labels by."""
    if subject.labelled:
        return None
    boxes = next((metric for metric in subject.whole if isinstance(metric, BoxPrecision)), None)
    return subject.paired[0].per_sample if boxes is None else lambda fp32, int8: shares(boxes, fp32, int8)


def shares(boxes: BoxPrecision, fp32: Tensors, int8: Tensors) -> F64:
    """Return for each image the average precision of its boxes; 1 where FP32 has none."""
    found = boxes.images(fp32, int8)
    return np.array([boxes.pooled(found[i : i + 1]) if found[i].truths else 1.0 for i in range(len(found))])


def _kept(trials: tuple[Trial, ...]) -> dict[str, Trial]:
    """Return the last trial of each rung that was kept."""
    return {trial.rung: trial for trial in trials if trial.kept}


def _scored(subject: Subject, candidate: Candidate, fp32: Any, folder: Path | None = None) -> Row:
    with candidate.engine() as engine:
        got = record(engine, Held.of(subject.evaluation, engine.inputs))
    row = qdq_facts(candidate.quantized().model.proto) | scored(subject, subject.evaluation, fp32, got)
    peer = None if folder is None else folder / f"{subject.name}.nncf.onnx"
    if peer is not None and peer.is_file():
        theirs = answers(peer, subject.evaluation)
        row["gain over nncf"] = beside(subject, subject.evaluation, fp32, (got, theirs))
    return row


def say(trial: Trial) -> None:
    """Print a trial."""
    score = trial.score
    what = trial.note if score is None else f"{score.mean_sqnr_db:.2f} dB"
    if score is not None:
        what += "".join(
            f" {name} {value:.4f}"
            for name, value in (("drop", score.drop), ("agreement", score.agreement), ("fidelity", score.fidelity))
            if value is not None
        )
    sys.stdout.write(f"  {trial.rung} | {trial.label} | {what} {'KEPT' if trial.kept else ''} {trial.seconds:.1f} s\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
