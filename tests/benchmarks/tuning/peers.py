"""FP32, NNCF's defaults and quantlab's best single method, a subject at a time.

`python -m tests.benchmarks.tuning.peers --models MODELS --nncf PYTHON [--only lite0 fashion …] [-o FOLDER]` writes one JSON
a subject into FOLDER (MODELS/figures if not given); rows that are there stay, so that it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from quantlab import engines
from quantlab.atomic import atomic_path
from quantlab.builder import QuantizedModel, QuantizeOptions, quantize
from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.histogram_set import HistogramSet
from quantlab.calibration.methods.names import parse_method
from quantlab.collector.collect import CollectOptions, collect
from quantlab.comparison.recording import Recording
from quantlab.data import stream
from quantlab.data.batch import Dataset
from quantlab.versions import versions
from tests.benchmarks.figures import reference
from tests.benchmarks.tuning.scoring import TARGET, answers, qdq_facts, scored
from tests.benchmarks.tuning.subjects import SUBJECTS, Places, Subject, open_subject

METHODS = ("minmax", "percentile:99.99", "percentile:99.999", "squared-error", "entropy")
CHOOSING = 256
"""Samples of the tuning set, the first, on which the method is chosen."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bench:
    """One subject, its FP32 answers on the evaluation set, and where its models and figures go.

    Attributes
    ----------
    folder
        For figures, INT8 models and NNCF's samples.
    nncf
        The Python of NNCF's environment.
    """

    subject: Subject
    fp32: Recording
    folder: Path
    nncf: Path

    def score(self, model: Any, *, optimize: bool = False) -> Row:
        """Return the figures of an INT8 model on the evaluation set."""
        got = answers(model, self.subject.evaluation, optimize=optimize)
        return scored(self.subject, self.subject.evaluation, self.fp32, got)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="what `prepare` and the exports filled")
    parser.add_argument("--nncf", type=Path, required=True, help="the python of an environment with nncf 3.4")
    parser.add_argument("--only", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    folder: Path = asked.output or asked.models / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for name in asked.only:
        measure(open_subject(name, Places(asked.models, reference())), folder, asked.nncf)


def measure(subject: Subject, folder: Path, nncf: Path) -> None:
    """Measure the rows that the subject's file lacks, and write it after each."""
    path = folder / f"{subject.name}.json"
    record: dict[str, Any] = {"subject": subject.name, "rows": {}}
    if path.is_file():
        record = json.loads(path.read_text(encoding="utf-8"))
    steps: dict[str, Callable[[Bench], Row]] = {"fp32": _float, "nncf": _nncf, "best single method": _best}
    left = [name for name in steps if name not in record["rows"]]
    if not left:
        return
    bench = Bench(subject, answers(subject.model, subject.evaluation, optimize=True), folder, nncf)
    for name in left:
        record["rows"][name] = steps[name](bench)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        sys.stdout.write(f"{subject.name}, {name}: {json.dumps(record['rows'][name], ensure_ascii=False)}\n")
        sys.stdout.flush()


def _float(bench: Bench) -> Row:
    return scored(bench.subject, bench.subject.evaluation, bench.fp32, bench.fp32)


def _nncf(bench: Bench) -> Row:
    """Quantize by NNCF in its own process; score with graph optimization off, and on."""
    target = bench.folder / f"{bench.subject.name}.nncf.onnx"
    with tempfile.TemporaryDirectory(dir=bench.folder) as samples:
        _write_samples(bench.subject, Path(samples))
        script = Path(__file__).with_name("nncf_run.py")
        command = [str(bench.nncf), str(script), str(bench.subject.model), samples, str(target)]
        command += ["--transformer"] * bench.subject.transformer
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=_one_thread())
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-3:]}
    row: Row = {"seconds": json.loads(done.stdout.splitlines()[-1]), **qdq_facts(onnx.load(target))}
    row |= bench.score(target)
    return row | {"optimized": bench.score(target, optimize=True)}


def _best(bench: Bench) -> Row:
    """Choose a method by the output's SQNR on the tuning set; score that one alone."""
    subject = bench.subject
    seconds: dict[str, float] = {}
    with _timed(seconds, "collect"):
        histograms = _histograms(subject)
    choosing = _first(subject.tuning, CHOOSING)
    exact = answers(subject.model, choosing, optimize=True)
    trials: dict[str, Row] = {}
    for method in METHODS:
        with _timed(seconds, method):
            built = _quantized(subject, histograms, method)
        trials[method] = scored(subject, choosing, exact, answers(built.model, choosing))
    best = max(METHODS, key=lambda name: float(np.mean(list(trials[name]["sqnr_db"].values()))))
    built = _quantized(subject, histograms, best)
    onnx.save(built.model.proto, bench.folder / f"{subject.name}.{best.partition(':')[0]}.onnx")
    row = {"method": best, "cpu_seconds": seconds, **qdq_facts(built.model.proto), **bench.score(built.model)}
    return row | {"on tuning": trials, "versions": versions(f"onnx {onnx.__version__}")}


def _histograms(subject: Subject) -> HistogramSet:
    with engines.ort(subject.model, expose="quantizable", target=TARGET, threads=1) as engine:
        return collect(engine, subject.calibration, options=CollectOptions(workers=1))


def _quantized(subject: Subject, histograms: HistogramSet, method: str) -> QuantizedModel:
    table = calibrate(histograms, parse_method(method))
    return quantize(subject.model, table, options=QuantizeOptions(target=TARGET))


def _first(data: Dataset, count: int) -> Dataset:
    kept, seen = [], 0
    for batch in data:
        kept.append(batch)
        seen += batch.samples
        if seen >= count:
            break
    return stream(kept, name="tuning, the first")


def _write_samples(subject: Subject, folder: Path) -> None:
    inputs = [tensor.name for tensor in onnx.load(subject.model, load_external_data=False).graph.input]
    count = 0
    for batch in subject.calibration:
        bound = batch.bind(inputs)
        for row in range(batch.samples):
            one: dict[str, Any] = {name: values[row : row + 1] for name, values in bound.items()}
            np.savez(folder / f"{count:06}.npz", **one)
            count += 1


def _one_thread() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.process_time()
    yield
    seconds[name] = round(time.process_time() - start, 2)


if __name__ == "__main__":
    main()
