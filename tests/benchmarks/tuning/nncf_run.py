"""Quantizes one ONNX model with NNCF's defaults, in NNCF's own environment; `peers` runs it.

`python nncf_run.py MODEL SAMPLES OUT [--transformer]`: SAMPLES is a folder with one .npz a sample, in order; writes OUT and
prints one line of JSON: wall and CPU seconds of `nncf.quantize` alone, peak MiB of the process, versions.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx


class Samples:
    """One sample a step, as NNCF's examples feed them; read from the files as they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._files = sorted(folder.glob("*.npz"))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for path in self._files:
            with np.load(path) as stored:
                yield {name: stored[name] for name in stored.files}

    def __len__(self) -> int:
        return len(self._files)


def main() -> None:
    """Quantize what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("samples", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--transformer", action="store_true", help="model_type=TRANSFORMER, as NNCF's documents advise")
    asked = parser.parse_args()
    import nncf  # type: ignore[import-not-found,unused-ignore]
    import onnxruntime

    options = {"model_type": nncf.ModelType.TRANSFORMER} if asked.transformer else {}
    model = onnx.load(asked.model)
    data = nncf.Dataset(Samples(asked.samples))
    wall, cpu = time.perf_counter(), time.process_time()
    quantized = nncf.quantize(model, data, **options)
    figures = {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "peak_mib": peak_mib(),
        "versions": [f"nncf {nncf.__version__}", f"onnxruntime {onnxruntime.__version__}", f"onnx {onnx.__version__}"],
    }
    onnx.save(quantized, asked.out)
    sys.stdout.write(json.dumps(figures) + "\n")


def peak_mib() -> float:
    """Return this process's largest resident memory; getrusage would count what its parent held when it forked."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else float("nan")


if __name__ == "__main__":
    main()
