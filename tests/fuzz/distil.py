"""Keeps of grown corpora the few inputs that reach every line: `python -m tests.fuzz.distil WORK`, into tests/fuzz/corpus."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.fuzz.kept import CORPUS, inputs, keep
from tests.fuzz.lines import executable, parsers, reached
from tests.fuzz.targets import TARGETS

LARGEST = 12_000
"""Bytes of an input that is kept, but for seeds."""

_MOST = 4000


def main() -> None:
    """Distil all targets; what is no longer wanted goes."""
    work = Path(sys.argv[1])
    modules = parsers()
    wanted = {(module, line) for module in modules for line in executable(module)}
    scratch = Path(tempfile.mkdtemp()) / "input"
    left = set(wanted)
    for name in TARGETS:
        found = _inputs(name, work)
        sizes = {data: len(data) for data in found}
        lines = {}
        for data in found:
            seen, wrong = reached(TARGETS[name], data, scratch, modules)
            if wrong:
                sys.stdout.write(f"{name}: {wrong}\n")
                continue
            lines[data] = {(module, line) for module, numbers in seen.items() for line in numbers} & left
        kept = list(dict.fromkeys([*_cover(lines, sizes), *_written(name, work)]))
        for data in kept:
            left -= lines[data]
        keep(name, kept)
        sys.stdout.write(f"{name}: {len(kept)} of {len(found)}, {sum(map(len, kept)):,} bytes\n")
    size = sum(path.stat().st_size for path in CORPUS.rglob("*.gz"))
    sys.stdout.write(f"{size:,} bytes, packed; {1 - len(left) / len(wanted):.2%} of {len(wanted)} lines\n")
    for module in modules:
        lines_left = sorted(line for where, line in left if where == module)
        if lines_left:
            sys.stdout.write(f"{module}: {lines_left}\n")


def _inputs(name: str, work: Path) -> list[bytes]:
    """Return what there is for a target, without repeats, the smallest first."""
    folder = work / "corpus" / name
    files = list(folder.iterdir()) if folder.is_dir() else []
    found = {path.read_bytes() for path in files if path.stat().st_size <= LARGEST or path.name.startswith("seed")}
    found.update(inputs(name).values())
    return sorted(found, key=lambda data: (len(data), data))[:_MOST]


def _cover(lines: dict[bytes, set[tuple[str, int]]], sizes: dict[bytes, int]) -> list[bytes]:
    """Choose inputs greedily by new lines a byte."""
    kept: list[bytes] = []
    left = set().union(*lines.values()) if lines else set()
    while left:
        best = max(lines, key=lambda data: (len(lines[data] & left) / (sizes[data] + 200), data))
        kept.append(best)
        left -= lines[best]
    return kept


def _written(name: str, work: Path) -> list[bytes]:
    """Return what quantlab itself writes: it stays, whatever it reaches."""
    return [path.read_bytes() for path in sorted((work / "corpus" / name).glob("seed-ours*"))]


if __name__ == "__main__":
    main()
