"""Whether a job survives: `python -m tests.benchmarks.faults --kills 200 --full 50 --lost 20` writes reports/figures/faults.json.

A small job on the shipped network is killed with SIGKILL at random moments, or run on a disk that is full at a random
point (a tmpfs, which needs root on Linux), and started again until it ends; or it shares its samples out to two workers, and
one of these is killed. After each fault every file that the manifest
calls finished has to be whole; in the end all bytes have to be those of an undisturbed run (but for measured times).
Trials are kept in FOLDER/trials.jsonl: a benchmark that is stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.benchmarks.fault_place import Ended, differences, faults_of, furnish, kill_in_step, start, workers_of
from tests.benchmarks.figures import write_figures

_DISTURBED = 6
"""Faults at most in one trial."""
_MIB = 1 << 20
_STEPS = 9


@dataclass(frozen=True, slots=True)
class Trial:
    """One run that was disturbed until it ended.

    Attributes
    ----------
    kind
        kill, full or lost (a worker).
    stages
        In which step each fault struck.
    wrong
        What was found after a fault, or in the end; empty if nothing.
    """

    kind: str
    stages: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def main() -> None:
    """Disturb as often as asked, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--full", type=int, default=50, help="times that the disk is full")
    parser.add_argument("--lost", type=int, default=20, help="workers that are killed")
    parser.add_argument("--folder", type=Path, help="keeps the trials; by default a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        place = _Place(folder)
        kinds = {
            "kill": (options.kills, place.killed),
            "full": (options.full, place.filled),
            "lost": (options.lost, place.lost),
        }
        for kind, (wanted, disturb) in kinds.items():
            while _faults(place.trials(), kind) < wanted:
                place.keep(disturb())
        counts = " ".join(f"--{name} {getattr(options, name)}" for name in ("kills", "full", "lost"))
        _write(place.trials(), f"python -m tests.benchmarks.faults {counts}")


class _Place:
    """The folder of the benchmark: the job, the undisturbed run, and the trials so far."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.draw = folder, random.SystemRandom()
        self.job = furnish(folder / "job")
        self.whole = folder / "whole"
        shutil.rmtree(self.whole, ignore_errors=True)
        ended = start(self.job, self.whole)
        if ended.code:
            sys.exit(f"The undisturbed run ended with {ended.code}: {ended.said}")
        told = [float(seconds) for seconds in re.findall(r", ([\d.]+) s$", ended.said, re.MULTILINE)]
        self.seconds = [seconds + 0.05 for seconds in told]
        self.start = ended.seconds - sum(told[1:])
        self.bytes = sum(path.stat().st_size for path in self.whole.rglob("*") if path.is_file())

    def killed(self) -> Trial:
        """Kill a run up to six times, then let it end."""
        output = self.folder / "killed"
        shutil.rmtree(output, ignore_errors=True)
        trial = Trial("kill")
        for _ in range(_DISTURBED):
            step = self.draw.randrange(_STEPS)
            seconds = self.draw.uniform(0, self.start if step == 0 else self.seconds[step])
            ended = start(self.job, output, harm=kill_in_step(step, seconds))
            if ended.code >= 0:
                return self._judged(trial, ended, output)
            trial.stages.append(ended.stage)
            trial.wrong.extend(faults_of(output, self.whole))
        return self._judged(trial, start(self.job, output), output)

    def filled(self) -> Trial:
        """Run on a disk that is too small, then let it grow."""
        trial = Trial("full")
        with _disk(self.folder / "disk", round(self.draw.uniform(0.01, 1.1) * self.bytes)) as disk:
            output = disk / "run"
            for _ in range(_DISTURBED - 1):
                ended = start(self.job, output)
                if ended.code == 0:
                    break
                trial.stages.append(ended.stage)
                if ended.code != 6 or "Traceback" in ended.said:
                    trial.wrong.append(f"exit code {ended.code}: {ended.said[-300:]}")
                trial.wrong.extend(faults_of(output, self.whole))
                _grow(disk, round(self.draw.uniform(0.2, 1.1) * self.bytes))
            _grow(disk, 16 * self.bytes)
            return self._judged(trial, start(self.job, output), output)

    def lost(self) -> Trial:
        """Run on two workers and kill one of them at a random moment; the run itself has to go on."""
        output = self.folder / "lost"
        shutil.rmtree(output, ignore_errors=True)
        trial = Trial("lost")
        wait = self.draw.uniform(0, 3.5)

        def kill_one(process: subprocess.Popen[bytes], _log: Path) -> None:
            while process.poll() is None and not trial.stages:
                workers = workers_of(process.pid)
                if not workers:
                    time.sleep(0.02)
                    continue
                time.sleep(wait)
                if left := workers_of(process.pid):
                    os.kill(self.draw.choice(left), signal.SIGKILL)
                    trial.stages.append("a worker")

        ended = start(self.job, output, more=("--set", "workers=2"), harm=kill_one)
        return self._judged(trial, ended, output)

    def _judged(self, trial: Trial, ended: Ended, output: Path) -> Trial:
        if ended.code:
            trial.wrong.append(f"the last start ended with {ended.code}: {ended.said[-300:]}")
        else:
            trial.wrong.extend(differences(output, self.whole))
        return trial

    def keep(self, trial: Trial) -> None:
        """Add a trial to those that are kept."""
        with (self.folder / "trials.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(trial), ensure_ascii=False) + "\n")
        sys.stdout.write(
            f"{trial.kind}: {', '.join(trial.stages) or 'undisturbed'}; {trial.wrong or 'nothing wrong'}\n"
        )
        sys.stdout.flush()

    def trials(self) -> list[Trial]:
        """Return the trials so far."""
        path = self.folder / "trials.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [Trial(**json.loads(line)) for line in lines]


@contextmanager
def _disk(place: Path, size: int) -> Iterator[Path]:
    """Mount a tmpfs of so many bytes for the time of the block."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={max(size, 1)}", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def _grow(place: Path, size: int) -> None:
    """Give the disk so many bytes, or what is on it with a little more."""
    used = shutil.disk_usage(place).used
    size = max(size, used + _MIB // 8)
    subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True)


def _faults(trials: list[Trial], kind: str) -> int:
    return sum(len(trial.stages) for trial in trials if trial.kind == kind)


def _write(trials: list[Trial], command: str) -> None:
    kills, full, lost = ([trial for trial in trials if trial.kind == kind] for kind in ("kill", "full", "lost"))
    stages = Counter(stage for trial in trials for stage in trial.stages)
    write_figures(
        "faults",
        command,
        {
            "SIGKILLs at random moments": (_faults(trials, "kill"), f"in {len(kills)} runs"),
            "times that the disk was full": (_faults(trials, "full"), f"in {len(full)} runs"),
            "workers lost": (_faults(trials, "lost"), f"in {len(lost)} runs"),
            "where they struck": ("; ".join(f"{name}: {count}" for name, count in sorted(stages.items())), ""),
            "runs with a corrupt or partial file that was taken for whole, or other final bytes": (
                sum(bool(trial.wrong) for trial in trials),
                f"of {len(trials)}",
            ),
        },
    )


if __name__ == "__main__":
    main()
