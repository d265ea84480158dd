"""Makes the calibration, tuning and evaluation sets out of Fashion-MNIST.

The first two are training images, the third is test images. Every set is
class-balanced, and no image occurs twice, within a set or across sets.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
from fashion_mnist import CLASSES, DEBIAN, Labelled, read_test, read_train
from numpy.typing import NDArray

SEED = 20170825
CALIBRATION, TUNING, EVALUATION = 1_000, 2_000, 5_000


def main() -> None:
    """Write the three sets to ``--out``."""
    options = _parse()
    train, test = read_train(options.fashion_mnist), read_test(options.fashion_mnist)
    calibration, tuning = fit_rows(train.label)
    sets = {
        "calibration": _take(train, calibration),
        "tuning": _take(train, tuning),
        "evaluation": _take(test, evaluation_rows(test.label)),
    }
    refuse_copies([image for chosen in sets.values() for image in chosen["image"]])
    for name, chosen in sets.items():
        np.savez_compressed(options.out / f"{name}.npz", **chosen)


def fit_rows(label: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the training rows for calibration and, disjoint, those for tuning."""
    rows = draw(label, CALIBRATION, np.arange(len(label)), SEED)
    rest = np.setdiff1d(np.arange(len(label)), rows)
    return rows, draw(label, TUNING, rest, SEED + 1)


def evaluation_rows(label: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the test rows for evaluation."""
    return draw(label, EVALUATION, np.arange(len(label)), SEED + 2)


def draw(label: NDArray[np.int64], size: int, rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return ``size`` of ``rows`` in random order, ``size / CLASSES`` of each class.

    The classes are mixed, so that a short prefix is a fair sample too.
    """
    rng = np.random.default_rng(seed)
    mixed = rng.permutation(rows)
    each = [mixed[label[mixed] == c][: size // CLASSES] for c in range(CLASSES)]
    return rng.permutation(np.concatenate(each))


def refuse_copies(images: list[NDArray[np.uint8]]) -> None:
    """Raise ``ValueError`` if two images have the same bytes, by SHA-256."""
    seen = Counter(hashlib.sha256(image.tobytes()).digest() for image in images)
    copies = len(images) - len(seen)
    if copies:
        raise ValueError(f"{copies} of {len(images)} drawn images are copies: change SEED")


def _take(data: Labelled, rows: NDArray[np.int64]) -> dict[str, NDArray]:
    """Return ``image`` uint8 [N,28,28,1], ``label`` int64 [N], ``index`` int64 [N]."""
    return {"image": data.image[rows, :, :, None], "label": data.label[rows], "index": rows}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fashion-mnist", type=Path, default=DEBIAN, metavar="DIR")
    parser.add_argument("--out", type=Path, default=Path("calib_data"), metavar="DIR")
    return parser.parse_args()


if __name__ == "__main__":
    main()
