import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")

from quantlab.qat.distributed import rank, synchronise, world_size  # noqa: E402 - after torch is known to be there
from quantlab.qat.fake_quant import FakeQuantize  # noqa: E402
from quantlab.qat.train import train  # noqa: E402
from tests.qat.loops import accuracy, network, same_weights, samples  # noqa: E402
from tests.qat.ranks import OPTIONS, prepared  # noqa: E402

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="needs PyTorch: pip install 'quantlab[qat]'"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what two processes left behind."""
    found = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "tests.qat.ranks", str(found)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen([*command, str(each), "2"], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        for each in range(2)
    ]
    said = [process.communicate(timeout=300)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(said)
    return found


def states(folder: Path, task: str) -> list[dict[str, Any]]:
    return [torch.load(folder / f"{task} {each}.pt", weights_only=True) for each in range(2)]


def with_the_largest_scales() -> Any:
    ours, theirs = prepared(0), prepared(1)
    for own, other in zip(ours.modules(), theirs.modules(), strict=True):
        if isinstance(own, FakeQuantize) and isinstance(other, FakeQuantize):
            own.set_scale(torch.maximum(own.scale, other.scale).detach())
    return ours


def test_every_rank_gets_the_largest_scale_and_no_average(folder: Path) -> None:
    expected = with_the_largest_scales().state_dict()
    for state in states(folder, "synchronised"):
        assert all(torch.equal(value, state[name]) for name, value in expected.items())


def test_two_processes_train_as_one_with_batches_twice_as_large(folder: Path) -> None:
    (one, other), module = states(folder, "trained"), with_the_largest_scales()
    train(module, samples(), options=replace(OPTIONS, batch=32), evaluate=accuracy)
    assert all(torch.equal(one[name], value) for name, value in other.items())
    for name, value in module.state_dict().items():
        assert torch.allclose(one[name], value, atol=1e-5), name
    assert not same_weights(module, with_the_largest_scales())


def test_ranks_with_different_quantizers_are_told_so(folder: Path) -> None:
    for each in range(2):
        assert "between 21 and 24 scales" in (folder / f"refused {each}.txt").read_text(encoding="utf-8")


def test_one_process_keeps_its_scales() -> None:
    module = network()
    synchronise(module)
    assert same_weights(module, network())
    assert (world_size(), rank()) == (1, 0)
