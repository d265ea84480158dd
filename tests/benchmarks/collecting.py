"""CPU time and memory of collecting beside plain inference of the same images, each in a process of its own.

Run as `python -m tests.benchmarks.collecting`; it starts itself again for each measurement.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

from quantlab.numerics.histogram import Histogram
from tests.benchmarks.figures import reference, write_figures
from tests.benchmarks.sample import calibration, network

ROUNDS = 5
_PLAIN_BATCH = 32


def _child(what: str, count: int) -> dict[str, float]:
    from quantlab import engines
    from quantlab.collector.collect import collect

    root = reference()
    batches = [dict(b.bind(["input"])) for b in calibration(root, limit=count, batch=_PLAIN_BATCH)]
    model = network(root)
    if what == "plain":
        with engines.ort(model) as engine:
            engine.run(batches[0])
            start = time.process_time()
            for batch in batches:
                engine.run(batch)
            return {"cpu": time.process_time() - start}
    with engines.ort(model, expose=what) as engine:
        collect(engine, batches[:1])  # compiles, or loads what was compiled
        start = time.process_time()
        found = collect(engine, batches)
        cpu = time.process_time() - start
    floats = sum(h.total for t, h in found.items() if isinstance(h, Histogram) and t not in found.derived)
    return {"cpu": cpu, "floats": floats, "tensors": len(found), "counted": len(found) - len(found.derived)}


def _memory_child(what: str, count: int) -> dict[str, float]:
    from quantlab import engines
    from quantlab.collector.collect import collect

    root = reference()
    with engines.ort(network(root), expose=what) as engine:
        collect(engine, calibration(root, limit=count))
    return {"mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _counting_child(what: str, count: int) -> dict[str, float]:
    """Time the counting alone, on activations that are in memory."""
    from quantlab import engines
    from quantlab.numerics.counting import Tally, new_lanes

    root = reference()
    batch = next(iter(calibration(root, limit=count, batch=count))).bind(["input"])
    with engines.ort(network(root), expose=what) as engine:
        outputs = {name: np.array(value) for name, value in engine.run(batch).items()}
    lanes = new_lanes()
    tallies = {name: Tally() for name in outputs}
    for name, value in outputs.items():
        tallies[name].add(value, lanes)
    start = time.process_time()
    for name, value in outputs.items():
        tallies[name].add(value, lanes)
    return {"ns": 1e9 * (time.process_time() - start) / sum(v.size for v in outputs.values())}


def _run(kind: str, what: str, count: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.collecting", kind, what, str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure in turn, plain beside collecting, and write the medians."""
    figures: dict[str, tuple[float | int | str, str]] = {}
    for what in ("quantizable", "all"):
        pairs = [(_run("cpu", "plain", 512), _run("cpu", what, 512)) for _ in range(ROUNDS)]
        ratios = [collected["cpu"] / plain["cpu"] for plain, collected in pairs]
        last = pairs[-1][1]
        figures |= {
            f"{what}: CPU of collecting / CPU of plain inference, median of {ROUNDS} pairs": (
                statistics.median(ratios),
                "ratio",
            ),
            f"{what}: smallest and largest ratio": (f"{min(ratios):.2f} … {max(ratios):.2f}", "ratio"),
            f"{what}: plain inference": (statistics.median(p["cpu"] for p, _ in pairs) / 512 * 1e3, "CPU ms an image"),
            f"{what}: collecting": (statistics.median(c["cpu"] for _, c in pairs) / 512 * 1e3, "CPU ms an image"),
            f"{what}: tensors": (int(last["tensors"]), "of which counted: " + str(int(last["counted"]))),
            f"{what}: counted floats an image": (int(last["floats"]) // 512, "floats"),
            f"{what}: counting alone": (_run("counting", what, 8)["ns"], "ns a float"),
            f"{what}: peak memory, 128 images": (_run("memory", what, 128)["mib"], "MiB"),
            f"{what}: peak memory, 512 images": (_run("memory", what, 512)["mib"], "MiB"),
        }
    write_figures("collecting", "python -m tests.benchmarks.collecting", figures)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        child = {"cpu": _child, "memory": _memory_child, "counting": _counting_child}[sys.argv[1]]
        sys.stdout.write(json.dumps(child(sys.argv[2], int(sys.argv[3]))) + "\n")
    else:
        main()
