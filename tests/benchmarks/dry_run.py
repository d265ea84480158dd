"""What a dry run estimates beside what the run takes: `python -m tests.benchmarks.dry_run` writes reports/figures/dry_run.json.

Each is a process of its own, in turn, on the shipped job.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import write_figures

ROOT = Path(__file__).parents[2]
JOB = ROOT / "calib_data" / "fashion.yaml"


def main() -> None:
    """Measure and write the figures; with --part, be one of the two processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("estimate", "run"), help="print one of the two as JSON and do nothing else")
    part = parser.parse_args().part
    if part is not None:
        steps = _estimated() if part == "estimate" else _ran()
        sys.stdout.write(json.dumps({"steps": steps, "processor": time.process_time()}))
        return
    (estimated, spent), (ran, needed) = _process("estimate"), _process("run")
    figures: dict[str, tuple[float | int | str, str]] = {}
    for title, real in ran.items():
        guess = estimated[title]
        figures[f"{title}: time"] = (real["seconds"], f"s; estimated {guess['seconds']:.2f}")
        figures[f"{title}: memory"] = (round(real["memory"] / 1e6), f"MB; estimated {guess['memory'] / 1e6:.0f}")
        figures[f"{title}: disk"] = (round(real["disk"] / 1e3, 1), f"kB; estimated {guess['disk'] / 1e3:.1f}")
    for name, unit, total in (("seconds", "s", sum), ("memory", "bytes", max), ("disk", "bytes", sum)):
        real, guess = (total(step[name] for step in found.values()) for found in (ran, estimated))
        figures[f"all: {name}"] = (real, f"{unit}; estimated {guess:.0f}")
        figures[f"all: estimated {name} over measured"] = (guess / real, "")
    figures["processor time of the run"] = (needed, "s, of the whole process")
    figures["processor time of the dry run"] = (spent, "s, of the whole process")
    write_figures("dry_run", "python -m tests.benchmarks.dry_run", figures)


def _process(part: str) -> tuple[dict[str, Any], float]:
    """Return the figures of the steps, and the processor seconds of the process."""
    command = [sys.executable, "-m", __spec__.name, "--part", part]
    found = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    return found["steps"], float(found["processor"])


def _estimated() -> dict[str, Any]:
    from quantlab.jobs.estimates import estimate
    from quantlab.jobs.job_file import read_job

    return {step.title: asdict(step) for step in estimate(read_job(JOB)).steps}


def _ran() -> dict[str, Any]:
    from quantlab.jobs.estimates import Recorder
    from quantlab.jobs.job_file import read_job
    from quantlab.jobs.run import run_job

    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder))
        run_job(read_job(JOB, [f"output={folder}/run"]), listener=recorder)
    return {
        title: {"seconds": seconds, "memory": recorder.memory[title], "disk": recorder.disk[title]}
        for title, seconds in recorder.seconds.items()
    }


if __name__ == "__main__":
    main()
