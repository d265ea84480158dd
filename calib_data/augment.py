"""Random changes to a batch of training images; float32 [N,1,H,W] in and out."""

from __future__ import annotations

import torch
from torch import Tensor


def augment(images: Tensor) -> Tensor:
    """Return each image perhaps mirrored, shifted by up to 2 pixels, perhaps part-erased."""
    return erase(shift(mirror(images), 2), 0.5)


def mirror(images: Tensor) -> Tensor:
    """Swap left and right in about half of the images."""
    swap = torch.rand(len(images), 1, 1, 1) < 0.5
    return torch.where(swap, images.flip(3), images)


def shift(images: Tensor, most: int) -> Tensor:
    """Move each image by -most..most rows and columns; the edge pixels repeat."""
    n, _, height, width = images.shape
    rows = (torch.arange(height) + _offsets(n, most)).clamp(0, height - 1)
    columns = (torch.arange(width) + _offsets(n, most)).clamp(0, width - 1)
    each = torch.arange(n)[:, None, None]
    return images[each, 0, rows[:, :, None], columns[:, None, :]][:, None]


def erase(images: Tensor, chance: float) -> Tensor:
    """Overwrite with noise, in that share of the images, a box of 4 to 14 pixels a side."""
    n, _, height, width = images.shape
    box = _span(n, height)[:, :, None] & _span(n, width)[:, None, :]
    hit = box & (torch.rand(n, 1, 1) < chance)
    return torch.where(hit[:, None], torch.randn_like(images), images)


def _offsets(n: int, most: int) -> Tensor:
    return torch.randint(-most, most + 1, (n, 1))


def _span(n: int, length: int) -> Tensor:
    """Return bool [n,length]: a random run of 4 to 14, cut where the image ends."""
    start = torch.randint(0, length - 3, (n, 1))
    end = start + torch.randint(4, 15, (n, 1))
    at = torch.arange(length)
    return (start <= at) & (at < end)
