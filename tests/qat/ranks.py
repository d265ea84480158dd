"""What each of several processes of one training does: FOLDER, its rank and how many there are."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed

from quantlab.errors import InputError
from quantlab.qat.distributed import synchronise
from quantlab.qat.fake_quant import FakeQuantize
from quantlab.qat.train import train
from quantlab.qat.train_options import Schedule, TrainOptions
from tests.qat.loops import accuracy, network, samples

OPTIONS = TrainOptions(epochs=3, batch=16, schedule=Schedule("sgd", rate=1e-2), ema=0.9)


def main() -> None:
    """Do each task and write what came of it on this rank."""
    folder, rank, world = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=world
    )
    module = prepared(rank)
    synchronise(module)
    torch.save(module.state_dict(), folder / f"synchronised {rank}.pt")

    module = prepared(rank)
    options = replace(OPTIONS, folder=folder / "checkpoint")
    train(module, samples(), options=options, evaluate=lambda net: accuracy(net) + rank)
    torch.save(module.state_dict(), folder / f"trained {rank}.pt")

    module = prepared(rank)
    if rank == 1:
        module.append(FakeQuantize("more", torch.ones(3), axis=0))
    try:
        synchronise(module)
    except InputError as error:
        (folder / f"refused {rank}.txt").write_text(str(error), encoding="utf-8")
    torch.distributed.destroy_process_group()
    os._exit(0)  # gloo's threads may outlive the interpreter


def prepared(rank: int) -> torch.nn.Sequential:
    """Return the network as a rank sees it: larger ranges on rank 0 for some tensors, on rank 1 for others."""
    module = network(norm=False)
    for number, part in enumerate(p for p in module.modules() if isinstance(p, FakeQuantize)):
        factor = 1 + 0.1 * number if (number + rank) % 2 else 1.0
        part.set_scale(part.scale.detach() * factor)
    return module


if __name__ == "__main__":
    main()
