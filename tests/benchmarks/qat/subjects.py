"""The networks that are trained: module, float ONNX model, ranges and samples."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

import quantlab as ql
from quantlab.data import arrays
from quantlab.graph.model import Model, load_model
from quantlab.graph.placement import Head
from quantlab.qat.training_data import Samples
from quantlab.tuning.candidate import Candidate
from tests.benchmarks.tuning.subjects import DIGITS, Places, Subject, open_subject

SHIPPED = Path(__file__).parents[3] / "calib_data"
TARGET = "tensorrt@8.6"


@dataclass(frozen=True, slots=True, eq=False)
class Trainable:
    """A network to train.

    Attributes
    ----------
    module
        With the weights of the ONNX model.
    subject
        The float ONNX model and what calibrates, chooses and scores.
    samples
        What trains: inputs and labels.
    augment
        As the float network saw its samples.
    """

    module: nn.Module
    subject: Subject
    samples: list[tuple[Tensor, Tensor]]
    augment: Callable[[Samples], Samples]

    @property
    def example(self) -> Tensor:
        """Two samples."""
        return self.samples[0][0][:2]

    def plan(self, method: Any, head: Head = "float") -> Candidate:
        """Return the network with the ranges that a method chooses of the calibration samples."""
        with ql.engines.ort(self.subject.model, expose="all") as engine:
            histograms = ql.collect(engine, self.subject.calibration)
        options = ql.QuantizeOptions(target=TARGET, head=head)
        return Candidate(load_model(self.subject.model), ql.calibrate(histograms, method), options)


def digits(models: Path, spread: int) -> Trainable:
    """Return the digits network whose channels are spread; 2,500 samples train it."""
    from tests.benchmarks.tuning.digits_net import Block, DigitsNet

    network = DigitsNet().eval()
    for block in network.blocks:
        assert isinstance(block, Block)
        block.fold()
    subject = open_subject(f"digits{spread}", Places(models, models))
    training = arrays(models / "digits_training.npz", preprocess=DIGITS, batch=500)
    return Trainable(_filled(network, subject.model), subject, _pairs(training), _moved)


def fashion(models: Path) -> Trainable:
    """Return the network that ships; the 60,000 images that trained it train it again. Nothing is read from `models`."""
    sys.path.insert(0, str(SHIPPED))
    from augment import augment  # type: ignore[import-not-found]
    from export_net import fold  # type: ignore[import-not-found]
    from fashion_mnist import DEBIAN, MEAN, STD, read_train  # type: ignore[import-not-found]
    from fashion_net import FashionNet  # type: ignore[import-not-found]

    data = read_train(DEBIAN)
    images = (torch.tensor(data.image)[:, None].float() / 255 - MEAN) / STD
    pairs = [(images, torch.tensor(data.label))]
    subject = open_subject("fashion", Places(models, models))
    network = _filled(fold(FashionNet().eval()), subject.model)
    return Trainable(network, subject, pairs, lambda s: Samples((augment(s.inputs[0]),), s.labels))


def _filled(network: nn.Module, model: Path) -> nn.Module:
    """Give a network, its norms folded, the weights of the ONNX file made of one like it."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(model).graph.initializer}
    network.load_state_dict({name: torch.tensor(stored[name]) for name in network.state_dict()})
    return network


def right(model: Model, samples: Iterable[Any], *, optimize: bool = True) -> float:
    """Return the share of samples whose largest logit is the label's, in ONNX Runtime."""
    hits: list[bool] = []
    with ql.engines.ort(model, optimize=optimize, threads=1) as engine:
        for batch in samples:
            hits += (engine.run(batch)["logits"].argmax(1) == batch.labels).tolist()
    return float(np.mean(hits))


def accuracy(samples: Iterable[Any]) -> Callable[[nn.Module], float]:
    """Return what measures a module's share of right answers."""
    pairs = _pairs(samples)

    def measured(module: nn.Module) -> float:
        hits = [module(images).argmax(1) == labels for images, labels in pairs]
        return float(torch.cat(hits).double().mean())

    return measured


def _pairs(samples: Iterable[Any]) -> list[tuple[Tensor, Tensor]]:
    return [(torch.tensor(next(iter(batch.values()))), torch.tensor(batch.labels)) for batch in samples]


def _moved(samples: Samples) -> Samples:
    """Shift all by up to two pixels."""
    rows, columns = torch.randint(-2, 3, (2,)).tolist()
    return Samples((torch.roll(samples.inputs[0], (rows, columns), (2, 3)),), samples.labels)
