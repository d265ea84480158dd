"""Writes what fuzzing did and what the corpora reach: `python -m tests.benchmarks.fuzzing WORK …`, after `python -m tests.fuzz.run`.

One folder a round, the last of them on the code as it is. The figures: executions and seconds of each target, what was found, and
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
    folders = [Path(text) for text in sys.argv[1:]]
    rounds = [json.loads((folder / "done.json").read_text(encoding="utf-8")) for folder in folders]
    done = {name: [Done(**log[name]) for log in rounds if name in log] for name in TARGETS}
    every = [one for several in done.values() for one in several]
    figures: dict[str, tuple[float | int | str, str]] = {
        "seconds of fuzzing": (round(sum(one.seconds for one in every)), "s"),
        "executions": (sum(one.executions for one in every), "inputs"),
        "seconds of the last round": (round(sum(Done(**fields).seconds for fields in rounds[-1].values())), "s"),
        "crashes and hangs in the last round": (
            sum(Done(**one).ended_early for one in rounds[-1].values()),
            "processes",
        ),
        "objections in the last round": (len(list((folders[-1] / "findings").glob("*.why"))), "inputs"),
        "objections, crashes and hangs in rounds before": (_found(folders[:-1]), "inputs"),
    }
    for name, several in done.items():
        figures[f"{name}: executions"] = sum(one.executions for one in several), "inputs"
        figures[f"{name}: seconds"] = round(sum(one.seconds for one in several)), "s"
        figures[f"{name}: most memory"] = max((one.peak_megabytes for one in several), default=0), "MB"
    figures |= _replayed()
    command = "python -m tests.fuzz.run --seconds 60 --work WORK; python -m tests.benchmarks.fuzzing WORK"
    write_figures("fuzzing", command, figures)


def _found(folders: list[Path]) -> int:
    """Return how many findings rounds had, those of native code among them."""
    patterns = ("*.why", "*-native-*")
    return sum(1 for folder in folders for pattern in patterns for _ in (folder / "findings").glob(pattern))


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
