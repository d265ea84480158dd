"""Steps of a job in parts: progress is kept beside the output until it is written, and no option is taken in vain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from quantlab.builder import quantize
from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.methods.minmax import MinMax
from quantlab.calibration.scale_table import ScaleTable
from quantlab.cli.app import app
from quantlab.errors import UsageError
from quantlab.graph.model import load_model
from quantlab.jobs.collecting import Collecting, collect_histograms, parts_of
from quantlab.jobs.comparing import Comparing, compare_models
from quantlab.jobs.data_source import DataSource
from quantlab.storage.files import save
from quantlab.storage.histograms_h5 import read_histograms
from quantlab.workers.declared import Workers
from tests.graph.nets import residual_net

PARTS = Workers(shard=8)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A float network and a labelled set of 40 samples."""
    random = np.random.default_rng(2)
    rows = random.standard_normal((40, 3, 16, 16)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=rows, label=random.integers(0, 5, 40))
    save(load_model(residual_net()), tmp_path / "net.onnx")
    return tmp_path


def collecting(place: Path, name: str, workers: Workers) -> Collecting:
    return Collecting(place / "net.onnx", DataSource(str(place / "data.npz"), batch=8), place / name, workers=workers)


def test_histograms_in_parts_are_the_bytes_of_one_pass(place: Path) -> None:
    collect_histograms(collecting(place, "one.h5", Workers()))
    collect_histograms(collecting(place, "many.h5", PARTS))
    assert (place / "one.h5").read_bytes() == (place / "many.h5").read_bytes()
    assert not parts_of(place / "many.h5").exists()


class StopError(Exception):
    pass


def test_a_step_that_ended_early_goes_on_and_leaves_no_parts(place: Path) -> None:
    def stop(done: int, _: int | None) -> None:
        if done >= 16:
            raise StopError

    what = collecting(place, "many.h5", PARTS)
    with pytest.raises(StopError):
        collect_histograms(what, progress=stop)
    assert parts_of(what.output).is_dir()
    assert not what.output.exists()
    seen: list[int] = []
    collect_histograms(what, progress=lambda done, _: seen.append(done))
    assert seen[0] >= 16
    assert not parts_of(what.output).exists()


def test_parts_left_beside_a_finished_output_are_cleared(place: Path) -> None:
    what = collecting(place, "many.h5", PARTS)
    collect_histograms(what)
    left = parts_of(what.output) / f"part-{0:012}-{8:012}-{'0' * 32}-{'0' * 32}.h5"
    left.parent.mkdir()
    left.write_bytes(b"of a run that was killed after it wrote its output")
    assert not collect_histograms(what).fresh
    assert not left.parent.exists()


def test_a_comparison_in_parts_is_the_file_of_one_pass(place: Path) -> None:
    collect_histograms(collecting(place, "one.h5", Workers()))
    table: ScaleTable = calibrate(read_histograms(place / "one.h5"), MinMax())
    save(quantize(load_model(place / "net.onnx"), table), place / "int8.onnx")
    save(table, place / "scales.json")
    source = DataSource(str(place / "data.npz"), batch=8)
    for name, workers in (("one.json", Workers()), ("many.json", PARTS)):
        (place / name.removesuffix(".json")).mkdir()
        output = place / name.removesuffix(".json") / "compare.json"
        compare_models(
            Comparing(
                place / "net.onnx",
                place / "int8.onnx",
                source,
                output,
                scales=place / "scales.json",
                final=False,
                workers=workers,
            )
        )
    for file in ("compare.json", "compare.samples.h5"):
        assert (place / "one" / file).read_bytes() == (place / "many" / file).read_bytes()


def test_workers_for_what_only_one_can_do_are_refused(place: Path) -> None:
    from dataclasses import replace

    what = collecting(place, "many.h5", Workers(workers=2))
    with pytest.raises(UsageError, match="grid depends on the order"):
        collect_histograms(replace(what, tensorrt_grid=8))
    (place / "loader.py").write_text(
        "import numpy as np\ndef load_data():\n    yield {'x': np.zeros((1, 3, 16, 16), np.float32)}\n"
    )
    with pytest.raises(UsageError, match="only be read from the start"):
        collect_histograms(replace(what, data=DataSource(str(place / "loader.py"))))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--workers", "2"], "--workers goes with one FP32 and one INT8 model"),
        (["--engine", "ray"], "--workers goes with one FP32 and one INT8 model"),
        (["--timeout", "5"], "say how many"),
    ],
)
def test_workers_for_several_candidates_are_refused(place: Path, options: list[str], said: str) -> None:
    candidate = str(place / "net.onnx")
    command = ["compare", candidate, candidate, candidate, "-d", str(place / "data.npz"), "-o", str(place / "c.json")]
    done = CliRunner().invoke(app, [*command, *options])
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--workers", "2", "--engine", "threads"], "--engine is processes or ray"),
        (["--timeout", "5"], "say how many"),
        (["--address", "host:1"], "--engine ray"),
        (["--workers", "2", "--tensorrt-grid", "8"], "grid depends on the order"),
    ],
)
def test_options_in_vain_are_refused(place: Path, options: list[str], said: str) -> None:
    command = ["collect", str(place / "net.onnx"), "-d", str(place / "data.npz"), "-o", str(place / "h.h5"), *options]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
    assert not (place / "h.h5").exists()
