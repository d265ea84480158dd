"""Job files: what is read, and what is refused with file, field and what is expected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from quantlab.errors import InputError, UsageError
from quantlab.jobs.job import DEFAULT_METHODS, slug
from quantlab.jobs.job_file import read_job

MINIMAL = "model: model.onnx\noutput: run\ndata: {calibration: calib.npz}\n"


def job_file(folder: Path, text: str) -> Path:
    path = folder / "job.yaml"
    path.write_text(text)
    return path


def test_a_minimal_job_has_the_documented_defaults(tmp_path: Path) -> None:
    job = read_job(job_file(tmp_path, MINIMAL))
    assert (job.model, job.output) == (tmp_path / "model.onnx", tmp_path / "run")
    assert (job.methods, job.choose) == (DEFAULT_METHODS, "squared-error")
    assert (job.target, job.weights, job.head, job.cache, job.ort) == ("tensorrt", "int8", "float", None, False)
    assert (job.max_drop, job.budget, job.exposed, job.name) == (None, 512 * 2**20, "quantizable", "model")
    assert list(job.sources) == ["calibration"]
    assert job.sources["calibration"].place == str(tmp_path / "calib.npz")


def test_a_set_may_differ_from_the_jobs_preprocessing(tmp_path: Path) -> None:
    (tmp_path / "bgr.yaml").write_text("color: BGR\n")
    job = read_job(
        job_file(
            tmp_path,
            "model: m.onnx\noutput: run\npreprocess: {scale: 1/255}\ndata:\n  calibration: a\n"
            "  tuning: {path: b, preprocess: bgr.yaml, label_pattern: '(\\d+)_', batch: 4, input: x, skip_bad: true}\n",
        )
    )
    calibration, tuning = job.sources["calibration"], job.sources["tuning"]
    assert calibration.preprocess is not None
    assert tuning.preprocess is not None
    assert (calibration.preprocess.scale, tuning.preprocess.color) == (1 / 255, "BGR")
    assert (tuning.batch, tuning.input, tuning.label_pattern, tuning.skip_bad) == (4, "x", r"(\d+)_", True)


def test_a_cache_needs_every_tensor(tmp_path: Path) -> None:
    job = read_job(job_file(tmp_path, MINIMAL + "cache: {version: 8.6}\n"))
    assert job.exposed == "all"
    assert job.cache is not None
    assert job.cache.version == "8.6"
    assert read_job(job_file(tmp_path, MINIMAL + "cache: {partial: true}\nexpose: conv*\n")).exposed == ("conv*",)


def test_one_method_is_chosen_without_saying(tmp_path: Path) -> None:
    assert read_job(job_file(tmp_path, MINIMAL + "methods: [entropy]\n")).choose == "entropy"


def test_a_method_may_stand_without_a_list(tmp_path: Path) -> None:
    job = read_job(job_file(tmp_path, MINIMAL), ("methods=minmax",))
    assert (job.methods, job.choose) == (("minmax",), "minmax")


def test_a_section_in_its_short_form_can_be_changed_within(tmp_path: Path) -> None:
    path = job_file(tmp_path, MINIMAL + "workers: 2\ncache: null\n")
    job = read_job(path, ("data.calibration.batch=16", "workers.threads=1", "cache.version=8.4.1"))
    assert (job.sources["calibration"].place, job.sources["calibration"].batch) == (str(tmp_path / "calib.npz"), 16)
    assert job.workers is not None
    assert (job.workers.count, job.workers.threads) == (2, 1)
    assert job.cache is not None
    assert job.cache.version == "8.4.1"


def test_fields_can_be_changed(tmp_path: Path) -> None:
    path = job_file(tmp_path, MINIMAL)
    changes = (
        "target=ort",
        "data.tuning=b.npz",
        "methods=[minmax, entropy]",
        "choose=best",
        "budget=1GiB",
        "max_drop=",
    )
    job = read_job(path, changes)
    assert (job.target, job.choose, job.budget, job.max_drop) == ("ort", "best", 2**30, None)
    assert set(job.sources) == {"calibration", "tuning"}


@pytest.mark.parametrize("change", ["target", "=3", "model.name=x"])
def test_a_change_must_be_one(tmp_path: Path, change: str) -> None:
    with pytest.raises(UsageError, match=re.escape(change)):
        read_job(job_file(tmp_path, MINIMAL), (change,))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be a mapping with `model`, `output` and `data`"),
        ("- 1", "must be a mapping"),
        ("model: m.onnx\noutput: run\n", "field `data`: it is missing"),
        ("model: m.onnx\noutput: ''\ndata: {calibration: a}\n", "field `output`: a path is expected"),
        ("model: 3\noutput: run\ndata: {calibration: a}\n", "field `model`: a path is expected"),
        (MINIMAL + "modell: x\n", "field `modell`: there is no such field"),
        ("model: m\noutput: run\ndata: {calibration: {path: a, batch: 0}}\n", "field `data.calibration.batch`: at least 1 is expected (it is 0)"),
        ("model: m\noutput: run\ndata: {calibration: ''}\n", "field `data.calibration.path`"),
        ("model: m\noutput: run\ndata: {calibration: [a]}\n", "field `data.calibration`"),
        (MINIMAL + "methods: []\n", "field `methods`"),
        (MINIMAL + "methods: [kl]\n", "field `methods`: Unknown method «kl»; the known ones are minmax"),
        (MINIMAL + "methods: [minmax, entropy]\n", "`choose` is missing: name one of minmax, entropy"),
        (MINIMAL + "methods: [minmax, 'minmax:']\nchoose: minmax\n", "listed twice"),
        (MINIMAL + "choose: kl\n", "field `choose`: Unknown method «kl»"),
        (MINIMAL + "choose: minmax:tail=1\n", "field `choose`"),
        (MINIMAL + "methods: [minmax]\nchoose: entropy\n", "`choose` is «entropy», which is none of the methods minmax, nor best"),
        (MINIMAL + "choose: best\n", "needs `data.tuning`"),
        (MINIMAL + "methods: [tensorrt-entropy2]\n", "need `tensorrt_grid`"),
        (MINIMAL + "rules: {conv*: kl}\n", "field `rules`: Unknown method «kl»"),
        (MINIMAL + "target: tensorflow\n", "field `target`: Unknown target «tensorflow»"),
        (MINIMAL + "weights: int4\n", "field `weights`: 'qdq' or 'int8' is expected (it is int4)"),
        (MINIMAL + "target: ort\nort: true\n", "`target` is ort already"),
        (MINIMAL + "cache: {version: '11.0'}\n", "field `cache`: TensorRT 11.0 reads no calibration cache"),
        (MINIMAL + "cache: {algorithm: Best}\n", "Unknown calibration algorithm «Best»"),
        (MINIMAL + "max_drop: 1\n", "`max_drop` needs `data.evaluation`"),
        (MINIMAL + "max_drop: .nan\n", "field `max_drop`"),
        (MINIMAL + "budget: much\n", "field `budget`: A size looks like 512MiB"),
        (MINIMAL + "preprocess: {sale: 1}\n", "field `preprocess`: A preprocessing has no sale"),
        (MINIMAL + "preprocess: {color: GRAY, mean: [1, 2]}\n", "`mean` has 2 values, but GRAY has 1 channel: give one."),
        (MINIMAL + "methods: {a: 1}\n", "field `methods`: a list is expected, such as [a, b] (it is {\"a\": 1})"),
        (MINIMAL + "rules: 3\n", "field `rules`: a mapping is expected"),
        (MINIMAL + "ort: perhaps\n", "field `ort`: true or false is expected (it is perhaps)"),
        (MINIMAL + "preprocess: gone.yaml\n", "There is no file"),
        (MINIMAL + "expose: 3\n", "field `expose`"),
        (MINIMAL + "model: twice.onnx\n", "«model» occurs twice"),
    ],
)  # fmt: skip
def test_a_bad_job_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_job(job_file(tmp_path, text))
    sentence = str(caught.value)
    assert words in sentence
    assert "job.yaml'" in sentence
    assert "\n" not in sentence


def test_a_methods_slug_is_a_file_name() -> None:
    assert slug("percentile:99.99,of=nonzero") == "percentile-99.99-of-nonzero"
