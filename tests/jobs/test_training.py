"""Training jobs: each rung where the one before falls short, nothing twice, and refusals before any work."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from quantlab.errors import InputError, StaleError, UsageError
from quantlab.graph.model import load_model
from quantlab.graph.simulate import simulate
from quantlab.jobs.job import Job
from quantlab.jobs.job_file import read_job
from quantlab.jobs.step import Progress
from quantlab.jobs.training import train_job
from quantlab.jobs.training_result import Hooks, TrainingResult
from quantlab.tuning.trial import Trial

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")

from tests.jobs.training_place import furnish, one_thread  # noqa: E402, F401 - a fixture of every test here

FILES = {
    "float.onnx", "histograms.h5", "scales.json", "ptq.qdq.onnx", "compare.ptq.json", "qat.qdq.onnx", "qat.float.onnx",
    "qat.scales.json", "qat.pt", "qat.json", "compare.qat.json", "report.json", "seconds.json", "manifest.json",
    "checkpoints",
}  # fmt: skip


@dataclass
class Heard:
    """What a job told."""

    ended_with: list[str] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def begins(self, number: int, total: int, title: str) -> Progress:
        return lambda _done, _total: None

    def ended(self, number: int, total: int, text: str, seconds: float) -> None:
        self.ended_with.append(text)

    @property
    def hooks(self) -> Hooks:
        return Hooks(trial=self.trials.append, learnt=lambda at: self.steps.append(at.step))


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return furnish(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def done_once(furnished: Path) -> TrainingResult:
    """The job as it stands, carried out in the furnished folder."""
    return train_job(read_job(furnished / "job.yaml"), listener=Heard())


@pytest.fixture
def place(furnished: Path, done_once: TrainingResult, tmp_path: Path) -> Path:
    """A copy of the furnished folder, with what the job made in it."""
    return Path(shutil.copytree(furnished, tmp_path / "place"))


def job(place: Path, *changes: str) -> Job:
    return read_job(place / "job.yaml", changes)


def climbed(place: Path, changes: Sequence[str] = (), *, force: bool = False) -> tuple[TrainingResult, Heard]:
    heard = Heard()
    return train_job(job(place, *changes), listener=heard, hooks=heard.hooks, force=force), heard


def test_a_network_that_ptq_breaks_is_trained_until_the_target_holds(done_once: TrainingResult) -> None:
    ptq, qat = done_once.rungs
    assert (ptq.name, ptq.standing, qat.name) == ("PTQ", "misses", "QAT")
    assert qat.standing in ("holds", "likely")
    assert done_once.best == qat
    assert ptq.score.drop is not None
    assert qat.score.drop is not None
    assert qat.score.drop < ptq.score.drop
    assert qat.score.worst_sqnr_db > ptq.score.worst_sqnr_db
    assert done_once.verdict.startswith("QAT loses ")
    assert {path.name for path in done_once.folder.iterdir()} == FILES


def test_the_report_tells_gain_and_cost_of_each_rung(done_once: TrainingResult) -> None:
    stored = json.loads(done_once.report.read_text())
    assert stored == done_once.to_json()
    first, second = stored["rungs"]
    assert first["gain"] is None
    assert second["gain"] == pytest.approx(first["points_lost"] - second["points_lost"])
    assert first["seconds"] > 0 < second["seconds"]
    assert stored["best"] == "QAT"


def test_the_trained_model_is_the_module_that_learned(furnished: Path, done_once: TrainingResult) -> None:
    course = json.loads((done_once.folder / "qat.json").read_text())
    assert course["equality"]["agreement"] == 1.0
    assert course["equality"]["largest"] < 1e-4 * course["equality"]["magnitude"]
    assert course["unmatched"] == {}
    from quantlab import engines

    images = (
        np.load(furnished / "evaluation.npz")["image"].transpose(0, 3, 1, 2).astype(np.float32) / 255 - 0.5
    ) / 0.25
    labels = np.load(furnished / "evaluation.npz")["label"]
    with engines.ort(simulate(load_model(done_once.folder / "qat.qdq.onnx")), threads=1) as engine:
        answers = engine.run({"image": images})["output"].argmax(1)
    qat = done_once.rungs[1].score
    assert qat.fp32 is not None
    assert 100 * (qat.fp32 - (answers == labels).mean()) == pytest.approx(qat.drop)


def test_nothing_changed_nothing_done(place: Path, done_once: TrainingResult) -> None:
    before = {path: path.stat().st_mtime_ns for path in (place / "run").rglob("*") if path.is_file()}
    result, heard = climbed(place)
    assert not any(made.fresh for made in result.artefacts)
    assert all(text.endswith("(current)") for text in heard.ended_with)
    assert result.to_json() == done_once.to_json()
    assert {path: path.stat().st_mtime_ns for path in (place / "run").rglob("*") if path.is_file()} == before


def test_other_training_is_refused_as_stale_and_made_anew_by_force(place: Path) -> None:
    with pytest.raises(StaleError, match="epochs"):
        climbed(place, ["qat.epochs=1"])
    result, heard = climbed(place, ["qat.epochs=1"], force=True)
    fresh = {made.path.name for made in result.artefacts if made.fresh}
    assert fresh == {"qat.qdq.onnx", "compare.qat.json", "report.json"}
    assert max(heard.steps) == 8


def test_a_changed_module_makes_the_export_stale(place: Path) -> None:
    with (place / "net.py").open("a") as file:
        file.write("\n# changed\n")
    with pytest.raises(StaleError, match=r"float\.onnx"):
        climbed(place)


def test_a_missing_file_of_a_rung_is_made_again(place: Path) -> None:
    (place / "run/qat/qat.scales.json").unlink()
    result, _ = climbed(place)
    assert "qat.qdq.onnx" in {made.path.name for made in result.artefacts if made.fresh}
    assert (place / "run/qat/qat.scales.json").is_file()


def test_ptq_that_holds_ends_the_climb(place: Path) -> None:
    result, heard = climbed(place, ["max_drop=100", "output=other"])
    assert [rung.name for rung in result.rungs] == ["PTQ"]
    assert "no training is needed" in heard.ended_with
    assert not (place / "other/qat/qat.qdq.onnx").exists()


def test_the_search_comes_before_training_and_gives_it_its_start(place: Path) -> None:
    changes = ["qat.tune=true", "qat.when=always", "qat.steps=4", "output=other"]
    result, heard = climbed(place, changes)
    assert [rung.name for rung in result.rungs] == ["PTQ", "tuned PTQ", "QAT"]
    assert heard.trials
    assert heard.steps[-1] == 4
    assert result.best.name == "tuned PTQ"
    start = json.loads((place / "other/qat/tuned.scales.json").read_text())["provenance"]["model"]
    assert start == load_model(place / "other/qat/tuned.float.onnx").digest
    again, second = climbed(place, changes)
    assert not any(made.fresh for made in again.artefacts)
    assert not second.trials


def test_functions_of_the_users_own_and_weights_of_distillation_change_what_is_learned(
    place: Path, done_once: TrainingResult
) -> None:
    def learned(*changes: str) -> str:
        result, _ = climbed(place, [*changes, "qat.steps=3"], force=True)
        return load_model(result.folder / "qat.qdq.onnx").digest

    found = [
        learned(),
        learned("qat.distil={labels: 0, mse: 0.1}"),
        learned("qat.augment=net.py:brighter"),
        learned("qat.distil=false", "qat.loss=net.py:margin"),
    ]
    assert len(set(found)) == 4
    with pytest.raises(InputError, match="has no function «nobody»"):
        climbed(place, ["qat.loss=net.py:nobody"], force=True)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("qat.module=net.py:missing", "has no function «missing»"),
        ("qat.module=net.py:text", "returns str, not a torch.nn.Module"),
        ("qat.module=net.py:broken", "could not build the module: ValueError: there is no such depth."),
        ("qat.module=nothing.py:build", "There is no file '.*nothing.py' that builds the module"),
        ("qat.state_dict=net.py", "is no file of torch.save"),
        ("qat.state_dict=gone.pt", "There is no file '.*gone.pt' with the module's weights"),
        (
            "qat.state_dict=other.pt",
            "do not fit Net: 12 tensors are missing, the first is «stem.0.weight»; 1 are of no layer",
        ),
        ("qat.state_dict=code.pt", "cannot be read as weights alone"),
        ("data.evaluation=train.npz", "shares samples with «train»"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(place: Path, change: str, sentence: str) -> None:
    torch.save({"other": torch.zeros(1)}, place / "other.pt")
    torch.save({"path": Path("x"), "code": Heard()}, place / "code.pt")
    with pytest.raises(InputError, match=sentence) as caught:
        climbed(place, [change, "output=other"])
    assert "\n" not in str(caught.value)
    assert not list((place / "other").rglob("*.onnx"))


def test_what_does_not_go_together_is_refused_before_the_job_runs(place: Path) -> None:
    with pytest.raises(InputError, match="`qat` needs `max_drop`"):
        job(place, "max_drop=null")
    with pytest.raises(InputError, match=r"field `qat.module`: «file.py:function» is expected"):
        job(place, "qat.module=net.pt")
    with pytest.raises(InputError, match=r"field `qat.epoch`: there is no such field"):
        job(place, "qat.epoch=3")
    with pytest.raises(UsageError, match="has no section `qat`"):
        train_job(job(place, "qat=null", "model=x.onnx"), listener=Heard())


def test_a_module_that_draws_its_weights_is_the_same_one_each_time(place: Path) -> None:
    from quantlab.qat.module_file import read_module

    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    one, two = (read_module(place / "net.py", "build") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)
