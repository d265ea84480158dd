"""The same job gives the same bytes: in any batch size, order of the samples and number of threads, and under another name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quantlab.collector.collect import collect
from quantlab.data import Preprocess, arrays
from quantlab.engines import ort
from quantlab.jobs.explaining import SILENCE
from quantlab.jobs.job_file import read_job
from quantlab.jobs.run import run_job
from quantlab.storage.histograms_h5 import write_histograms

SHIPPED = Path(__file__).parents[2] / "calib_data"
SAMPLES = 40
ARTEFACTS = (
    "histograms.h5", "scales/minmax.json", "scales/entropy.json", "scales/squared-error.json", "scales.json",
    "model.int8.onnx", "calibration.cache", "calibration.cache.json", "model.ort.onnx", "scales.ort.json", "run.json",
)  # fmt: skip
JOB = """
model: fashion_net.onnx
output: run
preprocess: {color: GRAY, layout: NCHW, scale: 1/255, mean: 0.2860, std: 0.3530}
data: {calibration: calibration.npz}
methods: [minmax, entropy, squared-error]
target: tensorrt@8.6
cache: {}
ort: true
"""


def furnish(folder: Path, order: Callable[[int], object] = np.arange) -> Path:
    folder.mkdir(parents=True)
    shutil.copy(SHIPPED / "fashion_net.onnx", folder)
    with np.load(SHIPPED / "calibration.npz") as found:
        rows = {key: found[key][:SAMPLES][order(SAMPLES)] for key in found.files}
    np.savez(folder / "calibration.npz", **rows)
    (folder / "job.yaml").write_text(JOB)
    return folder


def run(folder: Path, *changes: str) -> dict[str, bytes]:
    run_job(read_job(folder / "job.yaml", changes), listener=SILENCE)
    return {name: (folder / "run" / name).read_bytes() for name in ARTEFACTS}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return run(furnish(tmp_path_factory.mktemp("bytes") / "first"))


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_the_batch_size_leaves_no_trace(expected: dict[str, bytes], tmp_path: Path, batch: int) -> None:
    place = f"data.calibration={{path: calibration.npz, batch: {batch}}}"
    assert run(furnish(tmp_path / "other"), place) == expected


def test_the_order_of_the_samples_leaves_no_trace(expected: dict[str, bytes], tmp_path: Path) -> None:
    shuffled = furnish(tmp_path / "other", lambda count: np.random.default_rng(7).permutation(count))
    assert (shuffled / "calibration.npz").read_bytes() != (SHIPPED / "calibration.npz").read_bytes()
    assert run(shuffled) == expected


def test_the_budget_leaves_no_trace(expected: dict[str, bytes], tmp_path: Path) -> None:
    assert run(furnish(tmp_path / "other"), "budget=64KiB") == expected


def test_the_same_job_with_other_places_of_its_files_gives_the_same_bytes(
    expected: dict[str, bytes], tmp_path: Path
) -> None:
    assert run(furnish(tmp_path / "a longer name" / "ä")) == expected


@pytest.mark.parametrize("threads", [2, 3])
def test_the_number_of_threads_leaves_no_trace(tmp_path: Path, threads: int) -> None:
    preprocess = Preprocess(color="GRAY", scale=1 / 255, mean=0.2860, std=0.3530)
    path = furnish(tmp_path / "place") / "calibration.npz"
    written = []
    for count in (1, threads):
        with ort(SHIPPED / "fashion_net.onnx", expose="all", threads=count) as engine:
            write_histograms(tmp_path / f"{count}.h5", collect(engine, arrays(path, preprocess=preprocess)))
        written.append((tmp_path / f"{count}.h5").read_bytes())
    assert written[0] == written[1]


def test_the_number_of_workers_leaves_no_trace(expected: dict[str, bytes], tmp_path: Path) -> None:
    assert run(furnish(tmp_path / "other"), "workers=2") == expected
