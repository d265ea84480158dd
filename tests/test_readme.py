"""The examples of README and the pages that it leads to are run, and its tables are those of the measured figures."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from quantlab.storage.histograms_h5 import read_histograms

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "notebooks/commands.md", "notebooks/jobs.md", "reports/README.md")
README = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with calib_data in it, as where a user types the commands."""
    shutil.copytree(ROOT / "calib_data", tmp_path / "calib_data", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_work_as_they_stand(project: Path) -> None:
    from quantlab.cli.app import app

    steps = next(block for block in blocks("sh") if "quantlab collect" in block)
    for line in steps.strip().splitlines():
        done = CliRunner().invoke(app, shlex.split(line)[1:], catch_exceptions=False)
        assert done.exit_code == 0, f"{line}\n{done.output}"
    assert (project / "run" / "report.html").stat().st_size > 10_000
    assert (project / "run" / "calib.cache").read_text().startswith("TRT-8601-EntropyCalibration2\n")


def test_tuning_and_diagnosis_work_as_they_stand(project: Path) -> None:
    from quantlab.cli.app import app

    steps = next(block for block in blocks("sh") if "quantlab tune" in block)
    for line in steps.strip().splitlines():
        done = CliRunner().invoke(app, shlex.split(line)[1:], catch_exceptions=False)
        assert done.exit_code == 0, f"{line}\n{done.output}"
    assert (project / "run" / "tuned" / "model.int8.onnx").stat().st_size > 10_000
    assert (project / "run" / "diagnosis.json").exists()


@pytest.mark.slow
def test_the_gate_works_as_it_stands(project: Path) -> None:
    from quantlab.cli.app import app

    shutil.copytree(ROOT / "notebooks" / "regression_in_ci", project / "notebooks" / "regression_in_ci")
    steps = next(block for block in blocks("sh") if "quantlab regress" in block)
    for line in steps.strip().replace("$PWD", str(project)).splitlines():
        done = CliRunner().invoke(app, shlex.split(line)[1:], catch_exceptions=False)
        assert done.exit_code == 0, f"{line}\n{done.output}"
    assert (project / "gate.html").stat().st_size > 10_000
    assert (project / "trend.html").stat().st_size > 5_000


@pytest.mark.slow
def test_workers_caches_and_bundles_work_as_they_stand(project: Path) -> None:
    from quantlab.cli.app import app

    before = next(block for block in blocks("sh") if "quantlab quantize" in block).strip().splitlines()[:3]
    after = [block for block in blocks("sh") if re.search(r"--workers|quantlab (cache|deploy)", block)]
    assert len(after) == 3
    for line in [*before, *"".join(after).strip().splitlines()]:
        done = CliRunner().invoke(app, shlex.split(line, comments=True)[1:], catch_exceptions=False)
        assert done.exit_code == 0, f"{line}\n{done.output}"
    one, many = (read_histograms(project / "run" / name) for name in ("histograms.h5", "many.h5"))
    assert dict(many) == dict(one)
    assert (project / "run" / "bundle" / "make_plan.py").exists()


@pytest.mark.usefixtures("project")
def test_the_notebook_cells_work_as_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    (cells,) = blocks("python")
    scope: dict[str, object] = {}
    exec(compile(cells, "README.md", "exec"), scope)
    scores = scope["result"].scores_frame()  # type: ignore[attr-defined]
    assert len(scores) == 2


def figures(name: str) -> dict[str, object]:
    record = json.loads((ROOT / "reports" / "figures" / f"{name}.json").read_text(encoding="utf-8"))
    return {figure["name"]: figure["value"] for figure in record["figures"]}


def table(name: str) -> list[list[str]]:
    """Return the rows below the header, cells stripped of marks."""
    text = README.split(f"<!-- figures: {name} -->")[1].split("<!-- /figures -->")[0]
    rows = [re.sub(r"[*,]", "", line).strip("| ").split("|") for line in text.strip().splitlines()[2:]]
    return [[cell.strip() for cell in row] for row in rows]


def test_the_table_of_peers_is_what_was_measured() -> None:
    found = figures("peers")
    names = ("quantlab", "ort MinMax", "ort Entropy", "ort Percentile")
    ratio, memory, search = (
        [found[f"{name}: {what}"] for name in names]
        for what in ("CPU of collecting / plain inference", "peak memory", "threshold search")
    )
    rows = table("peers")
    assert [float(cell) for cell in rows[0][1:]] == [pytest.approx(value, rel=0.02) for value in ratio]
    assert [float(cell) for cell in rows[1][1:]] == [pytest.approx(value, rel=0.01) for value in memory]
    assert float(rows[2][1]) == pytest.approx(search[0], abs=0.051)
    assert float(rows[2][3]) == pytest.approx(search[2], abs=0.51)


def test_the_table_of_parity_is_what_was_measured() -> None:
    found = figures("parity")
    rows = table("parity")
    for column, name in enumerate(("entropy2", "minmax", "legacy"), start=1):
        within, compared = found[f"{name}: within 1e-5"], found[f"{name}: tensors compared"]
        assert rows[0][column] == f"{within} of {compared}"
        assert float(rows[1][column]) == pytest.approx(found[f"{name}: worst relative difference"], rel=0.05)


def test_the_table_of_accuracy_is_what_was_measured() -> None:
    found = figures("accuracy")
    rows = table("accuracy")
    for row, target in zip(rows, ("tensorrt@8.6", "ort"), strict=True):
        name = f"{target}, squared-error"
        assert float(row[1]) == pytest.approx(found[f"{name}: agreement with FP32's argmax"])
        assert float(row[2]) == pytest.approx(found[f"{name}: logit SQNR"])
    assert float(rows[1][3]) == pytest.approx(found["ort, squared-error: FP32's time / INT8's"], abs=0.051)


def test_the_table_of_tensorrt_is_what_was_measured() -> None:
    record = json.loads((ROOT / "reports" / "gpu" / "lite0.json").read_text(encoding="utf-8"))
    found = {row["name"]: row for row in record["tables"]["all"]}
    names = (
        "fp32",
        "tf32",
        "fp16",
        "native_entropy2",
        "native_minmax",
        "native_legacy",
        "cache",
        "qdq_head_int8",
        "qdq_chosen",
    )
    for row, name in zip(table("gpu"), names, strict=True):
        measured = found[name]
        assert float(row[1]) == pytest.approx(measured["agreement"], abs=5e-5)
        assert float(row[2]) == pytest.approx(measured["sqnr_db"], abs=0.051)
        times = [measured[f"ms b{size} graph"] for size in (1, 32, 128)]
        assert [float(cell) for cell in row[3].split(" / ")] == [pytest.approx(value, abs=5e-4) for value in times]
        assert float(row[4]) == pytest.approx(1000 * measured["joules_per_sample"], abs=0.051)


def test_what_readme_says_of_tensorrt_is_in_the_table() -> None:
    found = json.loads((ROOT / "reports" / "gpu" / "lite0.json").read_text(encoding="utf-8"))["tables"]["all"]
    rows = {row["name"]: row for row in found}
    times = [rows[name]["ms b128 graph"] for name in ("cache", "fp32")]
    agreement = {name: f"{100 * row['agreement']:.1f}" for name, row in rows.items() if row["agreement"]}
    theirs = sorted(agreement[f"native_{name}"] for name in ("entropy2", "minmax", "legacy"))
    assert f"takes {times[0] / times[1]:.2f} of FP32's time at batch 128" in README
    assert f"agrees with it on {agreement['cache']} % of the images" in README
    assert f"TensorRT's own calibrators {theirs[0]} to {theirs[-1]} %" in README


def test_the_table_of_training_is_what_was_measured() -> None:
    digits, fashion = figures("qat_digits"), figures("qat_fashion")
    rows = [
        (digits, "PTQ, squared error", "QAT without equalization, mean of 3 seeds"),
        *(
            (fashion, f"{name}: PTQ", f"{name}: QAT, mean of 3 seeds")
            for name in ("8 bits", "4 bits", "4 bits, KL ranges")
        ),
    ]
    for row, (found, before, after) in zip(table("qat"), rows, strict=True):
        measured = [found["FP32"], found[before], found[after]]
        assert [float(cell) for cell in row[1:]] == [pytest.approx(value, abs=5.1e-5) for value in measured]


def test_the_time_of_collecting_on_a_gpu_is_what_was_measured() -> None:
    record = json.loads((ROOT / "reports" / "gpu" / "collecting.json").read_text(encoding="utf-8"))
    assert (
        f"{record['tensors']} tensors of {record['images']} images there takes {record['collect_seconds']:.2f} s"
        in README
    )
    assert record["differ_from_cpu_count"] == []


def test_the_commands_for_a_gpu_work_as_far_as_a_machine_without_one_goes(project: Path) -> None:
    from quantlab.cli.app import app

    steps = next(block for block in blocks("sh") if "quantlab collect" in block)
    for line in steps.strip().splitlines()[:4]:
        CliRunner().invoke(app, shlex.split(line)[1:], catch_exceptions=False)
    lines = next(block for block in blocks("sh") if "quantlab build" in block).strip().splitlines()
    (emitting,) = (line for line in lines if "--emit" in line)
    done = CliRunner().invoke(app, shlex.split(emitting, comments=True)[1:], catch_exceptions=False)
    assert done.exit_code == 0
    assert "trtexec" in done.output
    (qdq,) = (line for line in lines if "run/model.int8.onnx" in line)
    rtx = [*shlex.split(qdq, comments=True)[1:], "--library", "tensorrt_rtx"]
    done = CliRunner().invoke(app, rtx, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert (project / "run" / "qdq.plan").stat().st_size > 10_000


def test_the_tuning_table_is_of_the_figures() -> None:
    from tests.benchmarks.tuning.table import readme_rows

    text = README.split("<!-- figures: tuning -->")[1].split("<!-- /figures -->")[0]
    assert text.strip().splitlines()[2:] == readme_rows(figures("tuning"))
