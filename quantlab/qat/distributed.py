"""One scale on all ranks of a distributed training."""

from __future__ import annotations

import torch
import torch.distributed as ranks
from torch import Tensor, nn

from quantlab.errors import InputError
from quantlab.qat.fake_quant import FakeQuantize


def synchronise(module: nn.Module) -> None:
    """Give every fake quantizer the largest of its scales over all ranks; nothing where there is one process.

    The largest, never the mean: a range that is the average of the ranks' clips the values that one of them saw.
    Every rank has to call it. Learned scales start anew from there.

    Raises
    ------
    InputError
        When the ranks' modules have different fake quantizers.
    """
    if world_size() == 1:
        return
    quantizers = [part for part in module.modules() if isinstance(part, FakeQuantize)]
    scales = [quantizer.scale.detach() for quantizer in quantizers]
    count = sum(len(scale) for scale in scales)
    device = device_of(module)
    counts = torch.tensor([count, -count], device=device)
    ranks.all_reduce(counts, ranks.ReduceOp.MAX)
    if int(counts[0]) != -int(counts[1]):
        raise InputError(
            f"The ranks' networks have between {-int(counts[1])} and {int(counts[0])} scales: prepare the same network "
            "with the same table on all of them."
        )
    if not count:
        return
    largest = torch.cat([scale.to(device) for scale in scales])
    ranks.all_reduce(largest, ranks.ReduceOp.MAX)
    for quantizer, scale in zip(quantizers, torch.split(largest, [len(scale) for scale in scales]), strict=True):
        quantizer.set_scale(scale)


def replicated(module: nn.Module) -> nn.Module:
    """Return the module, wrapped so that gradients are averaged over the ranks where there are several."""
    if world_size() == 1:
        return module
    synchronise(module)
    idle = any(isinstance(part, FakeQuantize) and not part.enabled for part in module.modules())
    return nn.parallel.DistributedDataParallel(module, find_unused_parameters=idle)


def world_size() -> int:
    """Return how many processes train together."""
    return ranks.get_world_size() if ranks.is_available() and ranks.is_initialized() else 1


def rank() -> int:
    """Return this process's number, from 0."""
    return ranks.get_rank() if world_size() > 1 else 0


def first_says(value: float, module: nn.Module) -> float:
    """Return the value that rank 0 has, so that all ranks decide alike."""
    if world_size() == 1:
        return value
    told = torch.tensor([value], dtype=torch.float64, device=device_of(module))
    ranks.broadcast(told, 0)
    return float(told)


def wait() -> None:
    """Go on when all ranks are here."""
    if world_size() > 1:
        ranks.barrier()


def device_of(module: nn.Module) -> torch.device:
    """Return where a module's first parameter is; the CPU where it has none."""
    found: Tensor | None = next(module.parameters(), None)
    return torch.device("cpu") if found is None else found.device
