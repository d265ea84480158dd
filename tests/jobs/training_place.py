"""A folder with a small PyTorch network whose channels are so unequal that PTQ loses, its data, and a training job."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

PREPROCESS = "{color: GRAY, scale: 1/255, mean: 0.5, std: 0.25}"
SIZES = {"train": 512, "calibration": 64, "tuning": 128, "evaluation": 400}
NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.mix = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.ReLU(), nn.Conv2d(12, 16, 1), nn.ReLU())
        self.head = nn.Linear(16 * 4, 4)

    def forward(self, image):
        y = nn.functional.max_pool2d(self.mix(self.stem(image)), 4)
        return self.head(y.flatten(1))

def build():
    return Net()

def text():
    return "no module"

def brighter(samples):
    from dataclasses import replace
    return replace(samples, inputs=tuple(x + 0.01 * torch.randn_like(x) for x in samples.inputs))

def margin(outputs, labels):
    return nn.functional.multi_margin_loss(outputs, labels)

def broken():
    raise ValueError("there is no such depth. Take 18")
"""
JOB = f"""
output: run
preprocess: {PREPROCESS}
data: {{calibration: calibration.npz, tuning: tuning.npz, evaluation: evaluation.npz}}
methods: [minmax]
max_drop: 4.5
target: tensorrt@8.6
qat:
  module: net.py:build
  state_dict: net.pt
  train: train.npz
  tune: false
  epochs: 10
"""
SPREAD = 1_000_000
"""Largest over smallest channel of the activations that one scale has to cover."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread in the modules that import this."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def furnish(folder: Path) -> Path:
    """Put all of it into a folder."""
    for seed, (name, count) in enumerate(SIZES.items()):
        pixels, labels = _samples(count, seed)
        np.savez(folder / f"{name}.npz", image=pixels, label=labels)
    (folder / "net.py").write_text(NET)
    (folder / "job.yaml").write_text(JOB)
    net = module_of(folder / "net.py").Net()
    torch.manual_seed(0)
    for part in net.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
    _train(net, *_samples(SIZES["train"], 0))
    _spread(net)
    torch.save(net.state_dict(), folder / "net.pt")
    return folder


def module_of(path: Path) -> ModuleType:
    """Return a Python file as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _samples(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, a quarter of which is brighter: which one is the class."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 4, count)
    pixels = draw.integers(0, 150, (count, 8, 8, 1))
    for image, label in zip(pixels, labels, strict=True):
        row, column = 4 * (label // 2), 4 * (label % 2)
        image[row : row + 4, column : column + 4] += 45
    return pixels.astype(np.uint8), labels


def _train(net: torch.nn.Module, pixels: np.ndarray, labels: np.ndarray) -> None:
    images = torch.from_numpy((pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255 - 0.5) / 0.25)
    wanted = torch.from_numpy(labels)
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    net.train()
    for _ in range(30):
        for start in range(0, len(images), 64):
            rows = slice(start, start + 64)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(images[rows]), wanted[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    net.eval()


def _spread(net: torch.nn.Module) -> None:
    """Make channels unequal without changing what the network computes: ReLU passes positive factors."""
    state = net.state_dict()
    factors = torch.logspace(0, float(np.log10(SPREAD)), 12)
    for name in ("stem.1.weight", "stem.1.bias"):
        state[name] *= factors
    state["mix.0.weight"] /= factors.view(-1, 1, 1, 1)
