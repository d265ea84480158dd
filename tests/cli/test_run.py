"""`quantlab run`: the whole way, doing again only what changed, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from quantlab.builder import chosen_on
from quantlab.comparison.comparison import Comparison
from quantlab.graph.model import load_model
from quantlab.storage.calibration_cache import check_cache
from quantlab.storage.scale_table_json import read_scale_table
from tests.cli.workplace import PREPROCESS, done, furnish, quantlab, refused, tree, write_set

ARTEFACTS = {
    "histograms.h5", "scales/minmax.json", "scales/squared-error.json", "tuning/minmax.json", "tuning/squared-error.json",
    "scales.json", "model.int8.onnx", "calibration.cache", "calibration.cache.json", "compare.json", "compare.samples.h5",
    "model.ort.onnx",
    "ort/scales.json", "scales.ort.json", "compare-ort.json", "compare-ort.samples.h5", "run.json", "report.html", "manifest.json",
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the job has run; tests that change it copy it."""
    folder = furnish(tmp_path_factory.mktemp("finished"))
    done("run", folder / "job.yaml")
    return folder


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder in which nothing has run."""
    return furnish(tmp_path)


def steps(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("[")]


def test_a_job_leaves_every_artefact_and_ends_with_the_report(bare: Path) -> None:
    ended = done("run", bare / "job.yaml")
    assert set(tree(bare / "run")) == ARTEFACTS
    assert [line[:5] for line in steps(ended.err)] == [f"[{n}/9]" for n in range(1, 10)]
    assert not any("current" in line for line in steps(ended.err))
    assert ended.out.splitlines()[-1] == f"Report: {(bare / 'run' / 'report.html').resolve()}"
    for words in ("squared-error", "logit SQNR dB", "a simulation of TensorRT", "INT8 top-1 %", "its 95 % interval"):
        assert words in ended.out


def test_a_second_run_does_nothing(finished: Path) -> None:
    before = tree(finished)
    ended = done("run", finished / "job.yaml")
    assert all("(current)" in line for line in steps(ended.err))
    assert ended.out.splitlines()[-2] == "Nothing changed, nothing done."
    assert tree(finished) == before


def test_the_result_tells_what_chose_it(finished: Path) -> None:
    int8 = load_model(finished / "run" / "model.int8.onnx")
    assert [data.name for data in chosen_on(int8)] == ["calibration", "tuning"]
    final = Comparison.from_json((finished / "run" / "compare.json").read_text())
    assert (final.final, final.data.name, final.samples) == (True, "evaluation", 40)
    assert [data.name for data in final.chosen_on] == ["calibration", "tuning"]
    tuned = Comparison.from_json((finished / "run" / "tuning" / "minmax.json").read_text())
    assert not tuned.final
    ort = Comparison.from_json((finished / "run" / "compare-ort.json").read_text())
    assert ort.latency is not None
    assert "unoptimized" not in ort.backends.int8


def test_the_cache_is_complete_and_the_models(finished: Path) -> None:
    model = load_model(finished / "model.onnx")
    assert check_cache(finished / "run" / "calibration.cache", model.digest) is not None
    lines = (finished / "run" / "calibration.cache").read_text().splitlines()
    assert lines[0] == "TRT-8601-EntropyCalibration2"
    assert [line.split(": ")[0] for line in lines[1:]] == ["image", "a", "b", "c", "d", "e", "f", "logits"]


def test_the_best_method_is_the_one_with_the_highest_sqnr(finished: Path) -> None:
    ended = done("run", finished / "job.yaml", "--json")
    found = ended.json
    best = max(found["tuning"], key=lambda m: Comparison.from_json(
        (finished / "run" / "tuning" / f"{m}.json").read_text()).outputs[0].sqnr_db)  # fmt: skip
    assert found["chosen"] == best
    assert found["passed"] is True
    assert found["report"].endswith("report.html")
    assert read_scale_table(finished / "run" / "scales.json").rows == read_scale_table(
        finished / "run" / "scales" / f"{best}.json").rows  # fmt: skip


def test_the_report_of_the_folder_is_current(finished: Path) -> None:
    ended = done("report", finished / "run", "-o", finished / "run" / "report.html")
    assert "is current" in ended.out


def test_no_report_is_made_on_an_edited_comparison(finished: Path, tmp_path: Path) -> None:
    edited = tmp_path / "run"
    shutil.copytree(finished / "run", edited)
    text = (edited / "compare.json").read_text(encoding="utf-8")
    (edited / "compare.json").write_text(text.replace('"samples": ', '"samples":  ', 1), encoding="utf-8")
    ended = quantlab("report", edited, "-o", tmp_path / "page.html")
    assert ended.code == 4
    assert "compare.json' was changed after quantlab made it" in ended.err
    assert not (tmp_path / "page.html").exists()


def test_another_method_redoes_only_what_it_touches(bare: Path) -> None:
    changes = ("--set", "ort=false", "--set", "cache=null", "--set", "choose=minmax")
    done("run", bare / "job.yaml", *changes)
    before = tree(bare / "run")
    ended = done("run", bare / "job.yaml", *changes, "--set", "methods=[minmax, squared-error, 'percentile:99']")
    after = tree(bare / "run")
    assert {"scales/percentile-99.json", "tuning/percentile-99.json"} == set(after) - set(before)
    assert {name for name in before if before[name] != after[name]} == {"manifest.json", "run.json", "report.html"}
    assert "3 methods calibrated" in ended.err


def test_changed_data_are_refused_with_the_reason_and_redone_with_force(bare: Path) -> None:
    changes = ("--set", "ort=false", "--set", "cache=null", "--set", "data.tuning=null", "--set", "choose=minmax")
    done("run", bare / "job.yaml", *changes)
    write_set(bare / "calibration.npz", onnx.load(bare / "model.onnx"), 24, seed=9)
    before = tree(bare)
    ended = quantlab("run", bare / "job.yaml", *changes)
    assert ended.code == 5
    assert ended.out == ""
    assert "histograms.h5' is stale: the data changed (blake2b:" in ended.err
    assert tree(bare) == before
    forced = done("run", bare / "job.yaml", *changes, "--force")
    assert not any("current" in line for line in steps(forced.err))
    assert all("(current)" in line for line in steps(done("run", bare / "job.yaml", *changes).err))


def test_another_target_is_refused_but_keeps_what_does_not_depend_on_it(bare: Path) -> None:
    changes = ("--set", "ort=false", "--set", "data.tuning=null", "--set", "choose=minmax")
    done("run", bare / "job.yaml", *changes)
    ended = quantlab("run", bare / "job.yaml", *changes, "--set", "weights=qdq")
    assert ended.code == 5
    assert 'option weights was "int8" and is "qdq"' in ended.err
    forced = done("run", bare / "job.yaml", *changes, "--set", "weights=qdq", "--force")
    assert "histograms collected (current)" in forced.err
    assert "model for tensorrt built, " in forced.err


def test_what_another_job_left_is_refused_and_removed_with_force(bare: Path) -> None:
    done("run", bare / "job.yaml")
    before = tree(bare)
    changes = ("--set", "methods=[minmax]", "--set", "choose=minmax", "--set", "ort=false", "--set", "cache=null")
    sentence = refused(5, "run", bare / "job.yaml", *changes)
    assert "is left from a job with other methods or parts (9 such files)" in sentence
    assert tree(bare) == before
    done("run", bare / "job.yaml", *changes, "--force")
    gone = {"scales/squared-error.json", "tuning/squared-error.json", "calibration.cache", "model.ort.onnx",
            "compare-ort.json", "compare-ort.samples.h5", "calibration.cache.json",
            "ort/scales.json", "scales.ort.json"}  # fmt: skip
    assert set(tree(bare / "run")) == ARTEFACTS - gone


def test_a_failed_step_leaves_the_finished_ones(bare: Path) -> None:
    good = (bare / "evaluation.npz").read_bytes()
    images = np.load(bare / "evaluation.npz")["image"]
    np.savez(bare / "evaluation.npz", image=images, label=np.full(len(images), 7))
    changes = ("--set", "ort=false", "--set", "data.tuning=null", "--set", "choose=minmax")
    ended = quantlab("run", bare / "job.yaml", *changes)
    assert ended.code == 4
    assert "label 7" in ended.err.splitlines()[-1]
    assert {"histograms.h5", "scales.json", "model.int8.onnx"} <= set(tree(bare / "run"))
    assert "compare.json" not in tree(bare / "run")
    (bare / "evaluation.npz").write_bytes(good)
    lines = steps(done("run", bare / "job.yaml", *changes).err)
    assert ["current" in line for line in lines] == [True, True, True, True, True, False, False]


@pytest.mark.parametrize(("name", "words"), [("tuning", "tuning set, about 100%"), ("calibration", "calibration set")])
def test_a_set_that_chose_cannot_score(bare: Path, name: str, words: str) -> None:
    before = tree(bare)
    assert words in refused(4, "run", bare / "job.yaml", "--set", f"data.evaluation={name}.npz")
    assert tree(bare) == before


def test_a_method_that_was_set_beforehand_is_not_chosen_on_the_tuning_set(bare: Path) -> None:
    done("run", bare / "job.yaml", "--set", "choose=minmax", "--set", "ort=false", "--set", "cache=null")
    assert [data.name for data in chosen_on(load_model(bare / "run" / "model.int8.onnx"))] == ["calibration"]


def test_too_large_a_drop_is_exit_code_1_and_the_report_is_there(bare: Path) -> None:
    ended = quantlab("run", bare / "job.yaml", "--set", "rules={'*': 'percentile:5'}", "--set", "head=int8", "--set", "max_drop=0.1",
                     "--set", "ort=false", "--json")  # fmt: skip
    assert ended.code == 1
    assert ended.json["passed"] is False
    assert "more than the 0.1 allowed" in ended.err
    drop = ended.json["final"]["metrics"][0]["drop"]
    again = quantlab("run", bare / "job.yaml", "--set", "rules={'*': 'percentile:5'}", "--set", "head=int8",
                     "--set", f"max_drop={drop - 0.01}", "--set", "ort=false")  # fmt: skip
    assert again.code == 1
    assert "95 % interval" in again.err
    assert "more samples might tell otherwise" in again.err
    assert (bare / "run" / "report.html").exists()


def test_tensorrts_methods_run_on_their_own_grid(bare: Path) -> None:
    done("run", bare / "job.yaml", "--set", "methods=[minmax, tensorrt-entropy2]", "--set", "tensorrt_grid=8",
         "--set", "ort=false", "--set", "choose=tensorrt-entropy2", "--set", "data.evaluation=null")  # fmt: skip
    table = read_scale_table(bare / "run" / "scales.json")
    assert table.provenance is not None
    assert table.provenance.grid.startswith("tensorrt, batch 8")


def test_a_job_for_ort_measures_latency(bare: Path) -> None:
    ended = done("run", bare / "job.yaml", "--set", "target=ort", "--set", "ort=false", "--set", "cache=null", "--json")
    assert ended.json["final"]["latency"] is not None
    assert "simulation" not in ended.err


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ("model=gone.onnx", 4, "gone.onnx"),
        ("data.evaluation=gone.npz", 4, "gone.npz"),
        ("data.calibration=job.yaml", 4, "images are missing"),
        ("output=model.onnx", 4, "is a file; name a folder"),
        ("methods=[kl]", 4, "Unknown method «kl»"),
        ("nothing", 2, "key=value"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(bare: Path, change: str, code: int, words: str) -> None:
    before = tree(bare)
    assert words in refused(code, "run", bare / "job.yaml", "--set", change)
    assert tree(bare) == before


def test_a_strangers_folder_is_left_alone(bare: Path) -> None:
    (bare / "run").mkdir()
    (bare / "run" / "manifest.json").write_text(json.dumps({"name": "app"}))
    before = tree(bare)
    assert "manifest.json" in refused(4, "run", bare / "job.yaml")
    assert tree(bare) == before


def test_the_shipped_job_can_be_read() -> None:
    from quantlab.jobs.job_file import read_job

    shipped = Path(__file__).parents[2] / "calib_data" / "fashion.yaml"
    job = read_job(shipped)
    assert job.preprocess == {**json.loads(PREPROCESS), "layout": "NCHW", "mean": 0.286, "std": 0.353}
    assert (job.choose, job.ort, job.exposed) == ("best", True, "all")
