"""Trains FashionNet on Fashion-MNIST and exports it to ``fashion_net.onnx``.

The test images are never read: what is to be chosen (sizes, epochs, rates) is
chosen with ``--hold-out``, on training images that no shipped set contains.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from augment import augment
from export_net import export
from fashion_mnist import DEBIAN, MEAN, STD, Labelled, read_train
from fashion_net import FashionNet
from make_sets import draw, fit_rows
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

Rows: TypeAlias = NDArray[np.int64]

BATCH = 128
PEAK_RATE = 4e-3
WEIGHT_DECAY = 0.02
SMOOTHING = 0.05
THREADS = 2
"""Fixed, as the order of summation, and so the network, depends on it."""


def main() -> None:
    """Train, say how it goes, export."""
    options = _parse()
    torch.manual_seed(options.seed)
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    # Every tensor is written before it is read: filling it first costs a tenth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False
    data = read_train(options.fashion_mnist)
    fit, held = split(data.label, options.hold_out)
    net = train(*tensors(data, fit), options.epochs)
    if options.hold_out:
        print(f"held out: {accuracy(net, *tensors(data, held)):.4f} of {len(held)}")
    export(net, options.out / "fashion_net.onnx")


def split(label: Rows, hold_out: int) -> tuple[Rows, Rows]:
    """Return the rows to train on and those held out, none of them in a shipped set."""
    every = np.arange(len(label))
    free = np.setdiff1d(every, np.concatenate(fit_rows(label)))
    held = draw(label, hold_out, free, seed=0)
    return np.setdiff1d(every, held), held


def tensors(data: Labelled, rows: Rows) -> tuple[Tensor, Tensor]:
    """Return normalised images float32 [N,1,28,28] and labels int64 [N]."""
    pixels = torch.from_numpy(data.image[rows])[:, None].float()
    return (pixels / 255 - MEAN) / STD, torch.from_numpy(data.label[rows])


def train(images: Tensor, labels: Tensor, epochs: int) -> FashionNet:
    """Return a net trained with AdamW and one cycle of a cosine learning rate."""
    net = FashionNet().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=WEIGHT_DECAY)
    steps = epochs * (len(images) // BATCH)
    rate = OneCycleLR(optimizer, PEAK_RATE, steps, pct_start=0.15)
    start = time.monotonic()
    for epoch in range(1, epochs + 1):
        loss = _train_epoch(net, optimizer, rate, images, labels)
        print(f"epoch {epoch}/{epochs}: loss {loss:.4f}, {time.monotonic() - start:.0f} s", flush=True)
    return net.eval()


def _train_epoch(net: FashionNet, optimizer: Optimizer, rate: LRScheduler, images: Tensor, labels: Tensor) -> float:
    """Show every image once, but for an incomplete last batch; return the mean loss."""
    net.train()
    batches = torch.randperm(len(images)).split(BATCH)[: len(images) // BATCH]
    total = 0.0
    for rows in batches:
        logits = net(augment(images[rows]))
        loss = nn.functional.cross_entropy(logits, labels[rows], label_smoothing=SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        total += loss.item()
    return total / len(batches)


@torch.inference_mode()
def accuracy(net: FashionNet, images: Tensor, labels: Tensor) -> float:
    """Return the share of images whose greatest logit is their label's."""
    right = [(net(x).argmax(1) == y).sum().item() for x, y in zip(images.split(500), labels.split(500), strict=True)]
    return sum(right) / len(labels)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fashion-mnist", type=Path, default=DEBIAN, metavar="DIR")
    parser.add_argument("--out", type=Path, default=Path("calib_data"), metavar="DIR")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hold-out", type=int, default=0, metavar="N")
    return parser.parse_args()


if __name__ == "__main__":
    main()
