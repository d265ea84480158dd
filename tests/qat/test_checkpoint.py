import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quantlab.errors import InputError, StaleError

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")

from quantlab.qat.callbacks import Callback, Progress  # noqa: E402 - after torch is known to be there
from quantlab.qat.checkpoint import NAME, read_checkpoint, write_checkpoint  # noqa: E402
from quantlab.qat.train import train  # noqa: E402
from quantlab.qat.train_options import Schedule, TrainOptions  # noqa: E402
from tests.qat.loops import accuracy, network, same_weights, samples  # noqa: E402
from tests.qat.trained_in_a_process import trained  # noqa: E402

ROOT = Path(__file__).parents[2]
STEPS = {"adamw": 36, "streamed": 18}


@pytest.mark.parametrize("way", STEPS)
def test_a_killed_training_goes_on_to_the_same_weights_bit_for_bit(tmp_path: Path, way: str) -> None:
    step = random.SystemRandom().randint(5, STEPS[way] - 1)
    command = [sys.executable, "-m", "tests.qat.trained_in_a_process", str(tmp_path / "killed"), str(step), way]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    killed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed, whole = trained(tmp_path / "killed", way), trained(tmp_path / "whole", way)
    assert resumed.resumed_at == (step - 1) // 4 * 4, f"killed in step {step}"
    assert same_weights(resumed.module, whole.module), f"killed in step {step}"
    assert resumed.history == whole.history


class Interrupted(Callback):
    """Raises after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, module: Any, progress: Progress) -> None:
        if progress.step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("step", "changed"),
    [(step, {"ema": 0.9}) for step in (1, 3, 4, 5, 6, 7, 10, 12)]
    + [(step, {"shuffle": False, "epochs": 4}) for step in (4, 7, 9)]
    + [(8, {"precision": "bfloat16"})],
)
def test_any_step_is_a_good_one_to_be_interrupted(tmp_path: Path, step: int, changed: dict[str, Any]) -> None:
    options = TrainOptions(epochs=2, batch=16, folder=tmp_path / "a", checkpoint_every=3, evaluate_every=5)
    options = replace(options, schedule=Schedule("sgd"), **changed)
    with pytest.raises(KeyboardInterrupt):
        train(network(), samples(), options=options, evaluate=accuracy, callbacks=[Interrupted(step)])
    resumed = train(network(), samples(), options=options, evaluate=accuracy)
    whole = train(network(), samples(), options=replace(options, folder=None), evaluate=accuracy)
    assert resumed.resumed_at == ((step - 1) // 3 * 3 or None)
    assert same_weights(resumed.module, whole.module)
    assert resumed.history == whole.history
    assert (resumed.metric, resumed.ending) == (whole.metric, whole.ending)


def options(folder: Path, **changed: Any) -> TrainOptions:
    return replace(TrainOptions(epochs=1, batch=16, folder=folder), **changed)


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    first = train(network(), samples(), options=options(tmp_path))
    again = train(network(), samples(), options=options(tmp_path), callbacks=[Interrupted(1)])
    assert again.resumed_at == first.steps == again.steps
    assert same_weights(first.module, again.module)


@pytest.mark.parametrize(
    ("changed", "data", "module", "what"),
    [
        ({"seed": 1}, samples(), network(), "seed"),
        ({"schedule": Schedule(rate=0.5)}, samples(), network(), "schedule"),
        ({}, samples(seed=1), network(), "samples"),
        ({}, samples(), network(seed=1), "network"),
    ],
)
def test_another_training_in_the_folder_is_refused_and_replaced_on_demand(
    tmp_path: Path, changed: dict[str, Any], data: Any, module: Any, what: str
) -> None:
    train(network(), samples(), options=options(tmp_path))
    with pytest.raises(StaleError, match=rf"another training \({what} differ\).*`fresh=True`"):
        train(module, data, options=options(tmp_path, **changed))
    assert train(module, data, options=options(tmp_path, fresh=True, **changed)).resumed_at is None


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04" + bytes(200)])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(InputError, match=r"checkpoint\.pt' is no checkpoint or damaged .*: remove it"):
        train(network(), samples(), options=options(tmp_path))


def test_a_cut_checkpoint_is_named(tmp_path: Path) -> None:
    train(network(), samples(), options=options(tmp_path))
    whole = (tmp_path / NAME).read_bytes()
    for length in (10, len(whole) // 2, len(whole) - 10):
        (tmp_path / NAME).write_bytes(whole[:length])
        with pytest.raises(InputError, match="no checkpoint or damaged"):
            train(network(), samples(), options=options(tmp_path))


class Hostile:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("pwned"),)


def test_a_hostile_checkpoint_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": Hostile()}, tmp_path / NAME)
    with pytest.raises(InputError, match="no checkpoint or damaged"):
        read_checkpoint(tmp_path, {})
    assert not (tmp_path / "pwned").exists()


def test_another_kind_of_file_is_told_from_a_checkpoint(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / NAME)
    with pytest.raises(InputError, match="no checkpoint of quantlab's version 1"):
        read_checkpoint(tmp_path, {})


def test_a_checkpoint_takes_the_place_of_the_former_and_leaves_nothing_beside(tmp_path: Path) -> None:
    for step in range(3):
        write_checkpoint(tmp_path, {"a": 1}, {"step": step, "weights": torch.ones(3)})
    state = read_checkpoint(tmp_path, {"a": 1})
    assert state is not None
    assert state["step"] == 2
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert read_checkpoint(tmp_path / "nowhere", {}) is None
