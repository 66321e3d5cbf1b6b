"""Patches of one image in another, and the answers in proportion."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Beta

from ftcli.contract import Batch
from ftcli.engine.regularizers.base import Regularizer, one_hot
from ftcli.engine.regularizers.mixup import mixed
from ftcli.models.layout import moved


class CutMix(Regularizer):
    """CutMix (Yun et al. 2019, arXiv:1905.04899): a box of another image, of area 1 - s, s from Beta(alpha, alpha)."""

    scope = "classification"
    inputs = "images"

    def mix(self, batch: Batch, classes: int) -> Batch:
        """Pixels and ``targets``; boxes are cut off at the edge, and what is left of them counts."""
        pixels = batch["pixel_values"]
        share = Beta(self.recipe.cutmix, self.recipe.cutmix).sample((len(pixels),))
        partner = torch.randperm(len(pixels))
        inside = boxes(1 - share, torch.rand(len(pixels)), torch.rand(len(pixels)), *pixels.shape[-2:])
        kept = 1 - inside.to(torch.float32).mean((1, 2))
        box, other = moved(inside, pixels.device)[:, None], moved(partner, pixels.device)
        return {
            **batch,
            "pixel_values": torch.where(box, pixels[other], pixels),
            "targets": mixed(one_hot(batch, classes), partner, kept),
        }


def boxes(area: Tensor, down: Tensor, right: Tensor, height: int, width: int) -> Tensor:
    """(rows, height, width) true inside boxes that take `area` (rows,) of the image, centred at shares of its sides."""

    def side(centre: Tensor, size: int) -> Tensor:
        half = size * area.sqrt() / 2
        place = torch.arange(size)
        first, last = ((centre * size + sign * half).round().clamp(0, size)[:, None] for sign in (-1, 1))
        return (place >= first) & (place < last)

    return side(down, height)[:, :, None] & side(right, width)[:, None, :]
