"""Makes one table and one JSON of what `tests.gpu.measure` wrote: `python -m tests.gpu.summary FOLDER [--copy reports/gpu]`.

It also says of each figure that was asked for whether it was reached.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from quantlab.atomic import atomic_path
from quantlab.comparison.lineup import Entry, Lineup
from quantlab.comparison.lineup_table import markdown
from tests.gpu.subjects import SUBJECTS, Subject
from tests.gpu.variants import OURS, QDQ, names

RATIOS = {"fp32": 0.22, "tf32": 0.33, "fp16": 0.52}
"""INT8's time over another precision's, at the largest batch: at most."""

AGREEMENT, SQNR_DB, QDQ_SLOWER = 0.978, 19.0, 1.02


@dataclass(frozen=True, slots=True)
class Check:
    """A figure that was asked for, and what came out."""

    what: str
    value: float
    limit: float
    reached: bool


def checks(subject: Subject, sets: Mapping[str, Lineup]) -> Iterator[Check]:
    """Yield every check that the engines measured allow."""
    evaluated = sets["eval"]
    there = {entry.name: entry for entry in evaluated.entries}
    if subject.classifies:
        for kind, found in sets.items():
            ours = [entry for entry in found.entries if entry.name in OURS]
            for entry in ours:
                share, db = entry.comparison.agreement.score, entry.sqnr_db or 0.0
                yield Check(f"{kind}: agreement of {entry.name}", share, AGREEMENT, share >= AGREEMENT)
                yield Check(f"{kind}: SQNR of {entry.name}, dB", db, SQNR_DB, db >= SQNR_DB)
    for name in ("cache", *QDQ):
        for other, limit in RATIOS.items():
            if subject.classifies and {name, other} <= set(there):
                yield from _ratios(there[name], there[other], limit, largest=True)
    for name in QDQ:
        for implicit in ("cache", "ranges"):
            if {name, implicit} <= set(there):
                yield from _ratios(there[name], there[implicit], QDQ_SLOWER, largest=False)


def read(folder: Path, subject: Subject) -> dict[str, dict[str, Any]]:
    """Return what was measured, by engine, in the order of `names`."""
    paths = {name: folder / f"{subject.name}.{name}.json" for name in names(subject)}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}


def joined(found: Mapping[str, Mapping[str, Any]], kind: str) -> Lineup:
    """Return one lineup of all engines, held against FP32's time where that was measured."""
    parts = {name: Lineup.from_json(document[kind]) for name, document in found.items()}
    entries: tuple[Entry, ...] = tuple(part[name] for name, part in parts.items())
    first = next(iter(parts.values()))
    return Lineup(entries, first.reference, paced_by="fp32" if "fp32" in parts else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--copy", type=Path, help="folder for what is kept: tables, JSON, logits, inspector texts")
    parser.add_argument("--command", default="python -m tests.gpu.measure", help="said to have measured it")
    asked = parser.parse_args()
    if not any(read(asked.folder, subject) for subject in SUBJECTS.values()):
        parser.error(f"'{asked.folder}' holds nothing that tests.gpu.measure wrote")
    for subject in SUBJECTS.values():
        found = read(asked.folder, subject)
        if found:
            _summed(asked.folder, subject, found, asked.command)
            if asked.copy is not None:
                _copied(asked.folder, asked.copy, subject)


def _summed(folder: Path, subject: Subject, found: Mapping[str, Mapping[str, Any]], command: str) -> None:
    kinds = ("eval", "all") if subject.classifies else ("eval",)
    sets = {kind: joined(found, kind) for kind in kinds}
    results = list(checks(subject, sets))
    document = {
        "command": command,
        "measured": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "device": _device(found),
        "versions": {key: value for part in found.values() for key, value in part["versions"].items()},
        "tables": {kind: lineup.rows() for kind, lineup in sets.items()},
        "checks": [asdict(check) for check in results],
        "engines": {name: _about(part, folder, subject) for name, part in found.items()},
    }
    # A row may hold an infinite SQNR, which JSON cannot.
    text = json.dumps(document, ensure_ascii=False, indent=1).replace("Infinity", '"inf"')
    page = "".join(f"{kind}:\n\n{markdown(lineup.rows())}\n" for kind, lineup in sets.items())
    lines = [f"{'reached' if c.reached else 'MISSED '} {c.what}: {c.value:.4g} (limit {c.limit:g})\n" for c in results]
    _write(folder / f"{subject.name}.json", text)
    _write(folder / f"{subject.name}.md", page)
    sys.stdout.write(page + "".join(lines))


def _about(part: Mapping[str, Any], folder: Path, subject: Subject) -> dict[str, Any]:
    card = dict(part["card"] or {})
    logits = folder / f"{subject.name}.{part['engine']}.logits.npz"
    sets = [{key: used[key] for key in ("name", "digest", "count")} for used in card.pop("chosen_on", [])]
    return {
        "onnx": part["onnx"],
        "scales_digest": card.get("scales_digest", ""),
        "logits": f"sha256:{hashlib.sha256(logits.read_bytes()).hexdigest()}" if logits.exists() else "",
        "seconds": part["seconds"],
        "card": card,
        "chosen_on": sets,
    }


def _ratios(one: Entry, other: Entry, limit: float, *, largest: bool) -> Iterator[Check]:
    sizes = sorted({time.batch for time in one.cost.times})
    for graph in (False, True):
        for size in sizes[-1:] if largest else sizes:
            mine, theirs = one.cost.time(size, graph=graph), other.cost.time(size, graph=graph)
            if mine and theirs:
                ratio = mine.median_ms / theirs.median_ms
                how = "CUDA graph" if graph else "launches"
                yield Check(f"time of {one.name} / {other.name}, b{size}, {how}", ratio, limit, ratio <= limit)


def _device(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the GPU that the plans were built for, with its driver where this machine has it."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    if shutil.which(query[0]) is None:
        return ", ".join(sorted({part["card"]["device"] for part in found.values() if part["card"]})) or "no GPU"
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()


def _copied(folder: Path, target: Path, subject: Subject) -> None:
    """Copy what is kept: of engines with the same logits the first one's, of the layers those of the largest batch."""
    target.mkdir(parents=True, exist_ok=True)
    seen: set[bytes] = set()
    for path in sorted(folder.glob(f"{subject.name}.*")):
        summed = path.name in (f"{subject.name}.json", f"{subject.name}.md")
        if summed or path.name.endswith(("times.json", "b128.layers.json.gz", "cache")):
            shutil.copyfile(path, target / path.name)
        elif path.name.endswith("logits.npz") and (content := path.read_bytes()) not in seen:
            seen.add(content)
            (target / path.name).write_bytes(content)


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
