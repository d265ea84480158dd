"""A small job on the shipped network for the faults, what an undisturbed run leaves, and what a disturbed one may not."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quantlab.jobs.manifest_file import NAME, read_manifest
from quantlab.jobs.output_lock import unfinished_in
from quantlab.jobs.run_facts import verified

ROOT = Path(__file__).parents[2]
_SHIPPED = ROOT / "calib_data"
_SAMPLES = {"calibration": 320, "tuning": 64, "evaluation": 320}
"""Enough for several shards of 64, each of which is kept when it is finished."""
_TIMED = ("compare-ort.json", "report.html")
"""Files with measured times: the first is compared without them; the page holds them as text."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a start of the job ended: its exit code (negative: the signal), what it said, and how long it took."""

    code: int
    said: str
    seconds: float

    @property
    def stage(self) -> str:
        """The step that it was in: after the last one that it told of."""
        ended = re.findall(r"^\[(\d+)/(\d+)\]", self.said, re.MULTILINE)
        if not ended:
            return "start or step 1"
        number, total = map(int, ended[-1])
        return f"step {number + 1} of {total}" if number < total else "after the last step"


def furnish(folder: Path) -> Path:
    """Put the shipped network, a few of its samples and a job with every step into a folder; return the job."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(_SHIPPED / "fashion_net.onnx", folder / "fashion_net.onnx")
    for name, count in _SAMPLES.items():
        with np.load(_SHIPPED / f"{name}.npz") as arrays:
            np.savez(folder / f"{name}.npz", **{key: arrays[key][:count] for key in arrays.files})
    text = (_SHIPPED / "fashion.yaml").read_text(encoding="utf-8")
    text = text.replace("output: ../reports/fashion", "output: run").replace("max_drop: 0.5", "max_drop: 100")
    (folder / "job.yaml").write_text(text, encoding="utf-8")
    return folder / "job.yaml"


def start(
    job: Path,
    output: Path,
    *,
    more: Sequence[str] = (),
    harm: Callable[[subprocess.Popen[bytes], Path], None] | None = None,
) -> Ended:
    """Run the job in a process of its own; `harm` is given the process and the file of what it says as it runs."""
    command = [sys.executable, "-m", "quantlab", "run", str(job), "--set", f"output={output}", *more]
    log = job.parent / f"{output.name}.stderr"  # not beside the output, whose disk may be full
    started = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    with (
        log.open("w", encoding="utf-8") as said,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=said, env=environment) as process,
    ):
        if harm is not None:
            harm(process, log)
        code = process.wait()
    text = log.read_text(encoding="utf-8")
    log.unlink()
    return Ended(code, text, time.monotonic() - started)


def kill_in_step(number: int, seconds: float) -> Callable[[subprocess.Popen[bytes], Path], None]:
    """Return what kills a run so many seconds after a step began: by the count of steps that it has told of."""

    def harm(process: subprocess.Popen[bytes], log: Path) -> None:
        while process.poll() is None:
            if len(re.findall(r"^\[\d+/", log.read_text(encoding="utf-8"), re.MULTILINE)) >= number:
                time.sleep(seconds)
                process.kill()
                return
            time.sleep(0.002)

    return harm


def workers_of(pid: int) -> list[int]:
    """Return the processes that a process started to work for it (Linux)."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
            command = (place / "cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            continue  # it has ended
        if parent == pid and command and b"resource_tracker" not in command:
            found.append(int(place.name))
    return found


def faults_of(output: Path, whole: Path) -> list[str]:
    """Return what is wrong with a folder after a fault: whatever is there, unless noted as unfinished, must be whole."""
    if not output.exists():
        return []
    found, unfinished = read_manifest(output), unfinished_in(output)
    wrong = [text for text in verified(output) if "was not finished" not in text] if not found.is_empty else []
    for path in _visible(output):
        name = path.relative_to(output).as_posix()
        if path not in unfinished and name in found.files and _content(path) != _content(whole / name):
            wrong.append(f"{name} differs from the undisturbed one")
    return wrong


def differences(output: Path, whole: Path) -> list[str]:
    """Return in what a finished run differs from the undisturbed one."""
    names, expected = ({p.relative_to(folder).as_posix() for p in _visible(folder)} for folder in (output, whole))
    wrong = [*verified(output), *(f"{name} is in one of them only" for name in sorted(names ^ expected))]
    found, other = read_manifest(output), read_manifest(whole)
    if set(found.files) != set(other.files):
        wrong.append("the manifests list other files")
    wrong += [f"{n} differs" for n in sorted(names & expected) if _content(output / n) != _content(whole / n)]
    left = [path.name for path in output.rglob(".*")]
    return wrong + [f"{name} was left" for name in left]


def _visible(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != NAME and path.name[0] != "."]


def _content(path: Path) -> Any:
    if not path.exists():
        return None
    if path.name not in _TIMED:
        return path.read_bytes()
    if path.suffix == ".json":
        return {key: value for key, value in json.loads(path.read_bytes()).items() if key != "latency"}
    return path.read_bytes()[-16:].strip()  # the page ends as a page does
