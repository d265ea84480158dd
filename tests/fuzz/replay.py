"""Reads one input and prints the processor time that took: `python -m tests.fuzz.replay TARGET FILE`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.contract import objection
from tests.fuzz.targets import TARGETS


def main() -> None:
    """Read it, print seconds, and what is wrong, if anything is."""
    target, data = TARGETS[sys.argv[1]], Path(sys.argv[2]).read_bytes()
    begun = time.process_time()
    wrong = objection(target, data, Path(tempfile.mkdtemp()) / "input")
    sys.stdout.write(f"{time.process_time() - begun:.1f} {wrong}\n")


if __name__ == "__main__":
    main()
