"""Masked autoencoders from scratch: the fixed positions that transformers leaves at zero when there is no checkpoint.

A MAE without them cannot tell one hidden patch from another: it paints the same in all of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

WAVELENGTHS = 10_000.0


def set_positions(model: nn.Module) -> None:
    """Sines and cosines into encoder and decoder of a ViT-MAE, and its mask token and patches as the paper has them.

    He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners" (arXiv:2111.06377), appendix A.1.
    """
    mae: Any = model
    embeddings, decoder = mae.vit.embeddings, mae.decoder
    with torch.no_grad():
        for positions in (embeddings.position_embeddings, decoder.decoder_pos_embed):
            side = round((positions.shape[1] - 1) ** 0.5)
            positions[0, 0] = 0
            positions[0, 1:] = sines_and_cosines(side, positions.shape[-1])
        weight = embeddings.patch_embeddings.projection.weight
        nn.init.xavier_uniform_(weight.view(len(weight), -1))
        nn.init.normal_(decoder.mask_token, std=mae.config.initializer_range)


def sines_and_cosines(side: int, size: int) -> Tensor:
    """(side * side, size): place in the row, then row, of each patch of a square, as waves of `size` / 4 lengths.

    Vaswani et al. 2017, "Attention Is All You Need" (arXiv:1706.03762), in two dimensions; `size` a multiple of 4.
    """
    steps = torch.arange(side, dtype=torch.float64)
    waves = WAVELENGTHS ** -(torch.arange(size // 4, dtype=torch.float64) / (size // 4))
    angles = steps[:, None] * waves
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    across, down = line.repeat(side, 1), line.repeat_interleave(side, dim=0)
    return torch.cat([across, down], dim=1).float()
