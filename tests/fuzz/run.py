"""Fuzzes the parsers: `python -m tests.fuzz.run --target all --seconds 300 --work FOLDER`, seconds a target; needs atheris.

Each target runs in a process of its own, under a limit on memory, and again after a crash until its time is up. The folder keeps
the grown corpora, the findings (`*.bin` the input, `*.why` what came of it) and `done.json`, which later runs add to.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.fuzz.kept import inputs
from tests.fuzz.seeds import write_seeds
from tests.fuzz.targets import TARGETS

HANG_S = 10.0
GRACE_S = 240
"""Seconds that a process may take beyond its time, to load and to end."""


@dataclass(slots=True)
class Done:
    """What was done for a target: inputs tried, seconds, processes that ended early, the most memory one had."""

    executions: int = 0
    seconds: float = 0.0
    ended_early: int = 0
    peak_megabytes: int = 0


def main() -> None:
    """Fuzz the targets asked for, one after the other."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--target", default="all")
    asked.add_argument("--seconds", type=float, default=300.0)
    asked.add_argument("--work", type=Path, required=True)
    given = asked.parse_args()
    names = list(TARGETS) if given.target == "all" else given.target.split(",")
    work: Path = given.work
    if not (work / "corpus").is_dir():
        (work / "place").mkdir(parents=True)
        write_seeds(work / "corpus", work / "place")
    (work / "findings").mkdir(exist_ok=True)
    log = work / "done.json"
    found = {name: Done(**fields) for name, fields in json.loads(log.read_text()).items()} if log.exists() else {}
    for name in names:
        for kept, data in inputs(name).items():
            (work / "corpus" / name / kept).write_bytes(data)
        fuzz(name, given.seconds, work, found.setdefault(name, Done()))
        log.write_text(json.dumps({each: asdict(done) for each, done in found.items()}, indent=1), encoding="utf-8")
        sys.stdout.write(f"{name}: {asdict(found[name])}\n")
        sys.stdout.flush()


def fuzz(name: str, seconds: float, work: Path, done: Done) -> None:
    """Run a target's process until its time is up, again after each crash."""
    end = time.monotonic() + seconds
    findings, corpus = work / "findings", work / "corpus" / name
    while (left := end - time.monotonic()) > 1:
        begun = time.monotonic()
        command = [
            sys.executable, "-m", "tests.fuzz.worker", name, str(findings), str(corpus), f"-max_total_time={int(left)}",
            f"-artifact_prefix={findings}/{name}-native-", "-print_final_stats=1", "-max_len=32768", "-verbosity=1",
        ]  # fmt: skip
        log = work / f"{name}.log"
        with log.open("w", encoding="utf-8") as file:
            try:
                code = subprocess.run(command, stderr=file, stdout=file, timeout=left + GRACE_S, check=False).returncode
            except subprocess.TimeoutExpired:  # a hang that libFuzzer's alarm does not end
                code = -1
        said = log.read_text(encoding="utf-8", errors="replace")
        whole = re.search(r"^Done \d+ runs in (\d+) second", said, re.MULTILINE)
        done.seconds += float(whole[1]) if whole else time.monotonic() - begun
        _count(said, done)
        if code != 0 and not _slow_by_company(name, findings):
            done.ended_early += 1
            with log.open("a", encoding="utf-8") as file:
                file.write(f"ended with {code}\n")
            shutil.copy(log, findings / f"{name}-ended-{done.ended_early}.log")
            shutil.copy(findings / f"{name}.current", findings / f"{name}-ended-{done.ended_early}.bin")


def _slow_by_company(name: str, findings: Path) -> bool:
    """Tell whether the process ended over an input that takes less than ten seconds of a processor: others had it."""
    inputs = sorted(findings.glob(f"{name}-native-timeout-*"))
    if not inputs:
        return False
    command = [sys.executable, "-m", "tests.fuzz.replay", name, str(inputs[-1])]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=GRACE_S, check=False).stdout.split(
            maxsplit=1
        )
    except subprocess.TimeoutExpired:
        return False
    quick = len(said) == 1 and float(said[0]) < HANG_S
    if quick:
        inputs[-1].rename(inputs[-1].with_name(inputs[-1].name.replace("native-timeout", "slow")))
    return quick


def _count(log: str, done: Done) -> None:
    """Add what a process said of itself at its end, or at its last pulse."""
    executed = [
        int(number) for number in re.findall(r"^(?:#|stat::number_of_executed_units: )(\d+)", log, re.MULTILINE)
    ]
    peaks = [int(number) for number in re.findall(r"(?:stat::peak_rss_mb: +|rss: )(\d+)", log)]
    done.executions += max(executed, default=0)
    done.peak_megabytes = max([done.peak_megabytes, *peaks])


if __name__ == "__main__":
    main()
