"""Small real runs of the fashion net, to hold against each other: a main one, an equal one, and one that is worse."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import yaml

from quantlab.jobs.job_file import read_job
from quantlab.jobs.run import run_job
from quantlab.jobs.step import Progress

SHIPPED = Path(__file__).parents[2] / "calib_data"
PREPROCESS = {"color": "GRAY", "layout": "NCHW", "scale": "1/255", "mean": 0.2860, "std": 0.3530}
EVALUATED = 300


class Silent:
    """A listener that says nothing."""

    def begins(self, number: int, total: int, title: str) -> Progress:
        return lambda _done, _total: None

    def ended(self, number: int, total: int, text: str, seconds: float) -> None:
        return


def runs(base: Path) -> Path:
    """Return the folder with the runs `main`, `again` and `worse`; made once below the session's folder."""
    folder = base / "gate"
    if not folder.exists():
        partly = base / "gate-partly"
        partly.mkdir()
        write_sets(partly)
        shutil.copytree(run(partly, "main"), partly / "runs" / "again")
        run(partly, "worse", preprocess=PREPROCESS | {"mean": 0.9, "std": 0.1})
        partly.rename(folder)
    return folder


def write_sets(folder: Path, calibration: int = 64, evaluation: int = EVALUATED) -> None:
    """Write the first samples of the shipped sets, and the model beside them."""
    shutil.copyfile(SHIPPED / "fashion_net.onnx", folder / "fashion_net.onnx")
    for name, count in (("calibration", calibration), ("evaluation", evaluation)):
        with np.load(SHIPPED / f"{name}.npz") as found:
            np.savez(folder / f"{name}.npz", **{key: found[key][:count] for key in found.files})


def run(folder: Path, name: str, **changes: object) -> Path:
    """Carry out a job beside the sets, and return its run folder."""
    job = {
        "model": "fashion_net.onnx",
        "output": f"runs/{name}",
        "preprocess": PREPROCESS,
        "data": {"calibration": "calibration.npz", "evaluation": "evaluation.npz"},
        "methods": ["minmax"],
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(job | changes), encoding="utf-8")
    run_job(read_job(folder / f"{name}.yaml"), listener=Silent())
    return folder / "runs" / name
