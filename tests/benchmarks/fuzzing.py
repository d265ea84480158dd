"""Writes what fuzzing did and what the corpora reach: `python -m tests.benchmarks.fuzzing WORK`, after `python -m tests.fuzz.run`.

The figures: executions, seconds and early ends of each target's process (from WORK/done.json), findings that are still there, and
the lines of each parser module that the committed corpus reaches, functions that no reader calls left out.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.figures import write_figures
from tests.fuzz.kept import inputs
from tests.fuzz.lines import executable, parsers, reached
from tests.fuzz.run import Done
from tests.fuzz.targets import TARGETS


def main() -> None:
    """Read the log, replay the corpus under the line tracer, write the figures."""
    log = json.loads((Path(sys.argv[1]) / "done.json").read_text(encoding="utf-8"))
    done = {name: Done(**log[name]) for name in TARGETS if name in log}
    figures: dict[str, tuple[float | int | str, str]] = {
        "seconds of fuzzing": (round(sum(one.seconds for one in done.values())), "s"),
        "executions": (sum(one.executions for one in done.values()), "inputs"),
        "processes that ended early": (sum(one.ended_early for one in done.values()), ""),
    }
    for name, one in done.items():
        figures[f"{name}: executions"] = one.executions, "inputs"
        figures[f"{name}: seconds"] = round(one.seconds), "s"
        figures[f"{name}: most memory"] = one.peak_megabytes, "MB"
    figures |= _replayed()
    write_figures(
        "fuzzing", "python -m tests.fuzz.run --seconds 60 --work WORK; python -m tests.benchmarks.fuzzing WORK", figures
    )


def _replayed() -> dict[str, tuple[float | int | str, str]]:
    """Return the size of the corpus, the objections to it and the lines that it reaches."""
    modules = parsers()
    wanted = {module: executable(module) for module in modules}
    seen: dict[str, set[int]] = {module: set() for module in modules}
    objections, sizes = 0, []
    scratch = Path(tempfile.mkdtemp()) / "input"
    for name, target in TARGETS.items():
        for data in inputs(name).values():
            lines, wrong = reached(target, data, scratch, modules)
            sizes.append(len(data))
            objections += bool(wrong)
            for module, numbers in lines.items():
                seen[module] |= numbers
    total, hit = 0, 0
    figures: dict[str, tuple[float | int | str, str]] = {
        "corpus": (len(sizes), "inputs"), "corpus, size": (sum(sizes), "bytes"), "corpus, findings left": (objections, ""),
    }  # fmt: skip
    for module, lines_wanted in wanted.items():
        total, hit = total + len(lines_wanted), hit + len(lines_wanted & seen[module])
        missed = sorted(lines_wanted - seen[module])
        figures[f"{module}: lines reached"] = f"{len(lines_wanted) - len(missed)} of {len(lines_wanted)}", "lines"
        if missed:
            figures[f"{module}: not reached"] = ", ".join(map(str, missed)), "lines"
    return figures | {
        "lines of the parsers reached": (round(100 * hit / total, 1), "%"),
        "lines of the parsers": (total, "lines"),
    }


if __name__ == "__main__":
    main()
