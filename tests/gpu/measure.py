"""Builds, scores and times every engine of a network on a GPU, one after the other, and goes on where it was stopped.

    python -m tests.gpu.measure lite0 --model efficientnet_lite0.onnx --calibration calib/ --evaluation eval/ \\
        --tables TABLES --out FOLDER [--only fp32,cache] [--timing-cache FILE] [--budget 400]

TABLES comes from `python -m tests.gpu.prepare`. Each engine's result is written as soon as it is known, and a result that is
there is not measured again: the command can be cut anywhere. `--engines ort` rehearses all of it without a GPU.
Then `python -m tests.gpu.summary FOLDER` makes one table.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quantlab import engines
from quantlab.atomic import atomic_path
from quantlab.comparison.comparison import CompareOptions
from quantlab.comparison.cost import batch_of
from quantlab.comparison.gpu_cost import measured_cost, measured_power
from quantlab.comparison.lineup import Lineup, lineup
from quantlab.comparison.recording import Recording, record
from quantlab.engines.engine import Engine
from quantlab.engines.tensorrt.engine import TrtEngine
from quantlab.errors import QuantlabError
from quantlab.metrics.top_k import TopK
from quantlab.numerics.arrays import AnyArray, Tensors
from quantlab.versions import versions
from tests.gpu.logits import REFERENCE, read_logits, write_logits
from tests.gpu.subjects import BATCH, SUBJECTS, Images, InMemory, at_batch
from tests.gpu.variants import Bench, names

ROUNDS = 200
POWER_SECONDS = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """What a call on the GPU machine is asked to do."""

    bench: Bench
    references: dict[str, Recording]
    rehearsal: bool
    rounds: int

    def path(self, name: str, suffix: str = "json") -> Path:
        return self.bench.out / f"{self.bench.subject.name}.{name}.{suffix}"

    @property
    def kept(self) -> str:
        """The set whose logits are kept."""
        return "all" if self.bench.subject.classifies else "eval"

    def sets(self) -> dict[str, InMemory]:
        """The sets that engines are scored on; labels of the calibration images are no last word, their logits are kept."""
        images = self.bench.images
        return {"eval": images.evaluation} | ({"all": images.both} if self.bench.subject.classifies else {})


def main() -> None:
    asked = _arguments()
    started = time.perf_counter()
    subject = SUBJECTS[asked.network]
    asked.out.mkdir(parents=True, exist_ok=True)
    loaded = Images.read(subject, asked.calibration, asked.evaluation, asked.limit)
    bench = Bench(subject, asked.model, loaded, asked.tables, asked.sizes, asked.out, asked.timing_cache)
    wanted = asked.only or names(subject)
    missing = [name for name in wanted if not (asked.out / f"{subject.name}.{name}.json").exists()]
    say(
        f"{len(loaded.both)} images read in {time.perf_counter() - started:.1f} s; to do: {', '.join(missing) or 'nothing'}"
    )
    if not missing:
        return
    visit = Visit(bench, {}, asked.engines == "ort", asked.rounds)
    visit = replace(visit, references=_references(visit))
    say(f"reference recorded after {time.perf_counter() - started:.1f} s")
    for name in missing:
        if asked.budget is not None and time.perf_counter() - started > asked.budget:
            say(f"the budget of {asked.budget:g} s is used up: {name} and those after it are left for the next call")
            return
        try:
            measure(visit, name)
        except QuantlabError as error:  # one engine that cannot be built must not take the others' time
            say(f"{name}: NOT MEASURED: {error}")


def measure(visit: Visit, name: str) -> None:
    """Write everything about one engine."""
    bench, seconds, began = visit.bench, dict[str, float](), time.perf_counter()
    engine = bench.rehearse(name) if visit.rehearsal else bench.build(name)
    seconds["build and open"] = time.perf_counter() - began
    with engine:
        plan = engine.plan if isinstance(engine, TrtEngine) else None
        began = time.perf_counter()
        answering = bench.subject.scored(at_batch(engine, BATCH if BATCH in bench.sizes else max(bench.sizes)))
        found = {kind: _scored(visit, name, answering, kind) for kind in visit.sets()}
        _keep_logits(visit, name, answering)
        seconds["score"] = time.perf_counter() - began
        began = time.perf_counter()
        cost = _cost(visit, engine)
        seconds["time"] = time.perf_counter() - began
        if isinstance(engine, TrtEngine):
            samples = dict(visit.bench.images.evaluation.batches[0].bind(engine.inputs))
            keep_layers(visit.bench.out / f"{visit.bench.subject.name}.{name}", engine, samples, visit.bench.sizes)
    document = {
        "network": bench.subject.name,
        "engine": name,
        "onnx": bench.digest(name),
        "versions": versions(engine.backend),
        "seconds": seconds,
        "card": plan.card.to_json() if plan else None,
        **{kind: part.with_costs({name: cost}).to_json() for kind, part in found.items()},
    }
    if plan and plan.cache:
        write(visit.path(name, "cache"), plan.cache)
    write(visit.path(name), json.dumps(document, ensure_ascii=False))
    say(_line(name, found["eval"].with_costs({name: cost}), seconds))


def _references(visit: Visit) -> dict[str, Recording]:
    """Return ONNX Runtime's FP32 answers to every image."""
    subject = visit.bench.subject
    with engines.ort(visit.bench.model) as engine:
        found = {kind: record(subject.scored(engine), data) for kind, data in visit.sets().items()}
    for kind, recording in found.items():
        # What is there stays: other engines' steps are from it, and another processor rounds otherwise.
        if kind == visit.kept and not visit.path(REFERENCE, "logits.npz").exists():
            write_logits(visit.path(REFERENCE, "logits.npz"), _small(recording), visit.sets()[kind].names, None)
    return found


def _scored(visit: Visit, name: str, engine: Engine, kind: str) -> Lineup:
    metrics = (TopK(1), TopK(5)) if visit.bench.subject.classifies else ()
    options = CompareOptions(final=kind == "eval")
    reference = visit.references[kind].engine()
    return lineup(reference, {name: engine}, visit.sets()[kind], metrics=metrics, options=options)


def _keep_logits(visit: Visit, name: str, engine: Engine) -> None:
    data = visit.sets()[visit.kept]
    _, reference = read_logits(visit.bench.out, visit.bench.subject.name, REFERENCE)
    write_logits(visit.path(name, "logits.npz"), _small(record(engine, data)), data.names, reference)


def _small(recording: Recording) -> dict[str, AnyArray]:
    # The heads of a detector would be 65 MB an engine: its class scores stand for them.
    return {name: values for name, values in recording.outputs.items() if values.ndim == 2}


def _cost(visit: Visit, engine: Engine) -> Any:
    samples = dict(visit.bench.images.evaluation.batches[0].bind(engine.inputs))
    cost = measured_cost(engine, samples, visit.bench.sizes, rounds=visit.rounds)
    if not isinstance(engine, TrtEngine):
        return cost
    try:
        return replace(cost, power=measured_power(engine, samples, max(visit.bench.sizes), seconds=POWER_SECONDS))
    except QuantlabError as error:
        say(f"no power: {error}")
        return cost


def keep_layers(place: Path, engine: TrtEngine, samples: Tensors, sizes: Sequence[int]) -> None:
    """Write beside `place` the inspector's text and each layer's median milliseconds at each batch size."""
    for size in sizes:
        batch = batch_of(samples, size)
        with atomic_path(place.with_name(f"{place.name}.b{size}.layers.json.gz")) as temporary:
            temporary.write_bytes(gzip.compress(engine.inspect(batch).encode("utf-8", "surrogateescape"), mtime=0))
        times = engine.profile(batch, rounds=20)
        write(place.with_name(f"{place.name}.b{size}.times.json"), json.dumps(times, ensure_ascii=False))


def _line(name: str, found: Lineup, seconds: dict[str, float]) -> str:
    entry = found[name]
    times = ", ".join(f"b{t.batch}{'g' if t.graph else ''} {t.median_ms:.3f}" for t in entry.cost.times)
    shares = f"agreement {entry.comparison.agreement.score:.4f}, {entry.sqnr_db or 0:.2f} dB"
    top = "".join(f"{m.name} {m.int8:.4f} " for m in entry.comparison.metrics[:1])
    watts = f", {entry.cost.power.watts:.0f} W" if entry.cost.power else ""
    spent = ", ".join(f"{what} {value:.0f} s" for what, value in seconds.items())
    return f"{name}: {top}{shares}, ms {times}{watts} ({spent})"


def write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8", errors="surrogateescape")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=list(SUBJECTS))
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--evaluation", type=Path, required=True)
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", type=lambda text: tuple(text.split(",")), help="names of engines")
    parser.add_argument("--sizes", type=lambda text: tuple(map(int, text.split(","))), default=(1, 32, 128))
    parser.add_argument("--timing-cache", help="file that builds share")
    parser.add_argument("--budget", type=float, help="start no further engine after so many seconds")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--limit", type=int, help="so many images of each set only, for a rehearsal")
    parser.add_argument("--engines", choices=("trt", "ort"), default="trt")
    asked = parser.parse_args()
    unknown = sorted(set(asked.only or ()) - set(names(SUBJECTS[asked.network])))
    if unknown:
        parser.error(f"no engine {unknown}; there are {', '.join(names(SUBJECTS[asked.network]))}")
    return asked


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
