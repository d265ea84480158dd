"""One target under atheris, until the time is up or a native crash: `python -m tests.fuzz.worker TARGET …`.

What Python can tell is written down as a finding, and fuzzing goes on; a hang, a crash of native code or memory beyond the
limit ends the process, and leaves the input behind as libFuzzer's artefact.
"""

from __future__ import annotations

import faulthandler
import hashlib
import os
import random
import re
import resource
import sys
import tempfile
import warnings
from pathlib import Path

import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]

with atheris.instrument_imports(include=["quantlab"]):
    from tests.fuzz.targets import SPLIT, TARGETS

from tests.fuzz.contract import objection
from tests.fuzz.mutations import blocks, mutated
from tests.fuzz.mutations_hdf5 import rewritten

MEMORY = 2**31
"""Bytes that an input may add to the process: the budget."""

HANG_S = 10


def main() -> None:
    """Fuzz the target named first; a folder for findings, the corpus and libFuzzer's own options follow."""
    name, findings, corpus, *options = sys.argv[1:]
    target = TARGETS[name]
    kept = Path(findings)
    known: set[str] = {path.read_text(encoding="utf-8") for path in kept.glob("*.txt")}
    good = [path.read_bytes() for path in sorted(Path(corpus).glob("seed-*"))]
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-")) / "input"
    warnings.simplefilter("error")
    for data in good:  # what is imported and mapped by the first call counts for nobody
        objection(target, data, folder)
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))

    current = kept / f"{name}.current"
    faulthandler.enable()

    def test(data: bytes) -> None:
        current.write_bytes(data)  # for a crash of which nobody lives to tell
        wrong = objection(target, data, folder)
        place = " ".join(re.sub(r"\d+ characters", "", wrong.split(": ")[0]).split())
        if wrong and place not in known:
            known.add(place)
            stem = hashlib.sha256(data).hexdigest()[:12]
            (kept / f"{name}-{stem}.bin").write_bytes(data)
            (kept / f"{name}-{stem}.txt").write_text(place, encoding="utf-8")
            (kept / f"{name}-{stem}.why").write_text(wrong, encoding="utf-8")
            sys.stderr.write(f"FINDING {name} {stem} {wrong[:400]}\n")

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        draw = random.Random(seed)
        choice = draw.random()
        try:
            if target.kind == "hdf5" and choice < 0.5 and good:
                head, split, store = draw.choice(good).rpartition(SPLIT)
                return (head + split + rewritten(store, draw))[:max_size]
            if choice > 0.45:
                return mutated(data, target.kind, draw)[:max_size]
        except Exception:  # noqa: BLE001 - a mutation that does not go with these bytes is none
            choice = 0.0
        if choice < 0.3:
            return bytes(atheris.Mutate(data, max_size))
        return blocks(data, draw)[:max_size]

    own = [sys.argv[0], corpus, f"-timeout={HANG_S}", f"-rss_limit_mb={(used_rss() + MEMORY) >> 20}", *options]
    atheris.Setup(own, test, custom_mutator=mutate)
    atheris.Fuzz()


def used_rss() -> int:
    """Return the bytes that the process has in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


main()
