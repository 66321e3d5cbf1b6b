"""Noise on the embedded tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from ftcli.contract import Batch
from ftcli.engine.regularizers.base import Regularizer
from ftcli.engine.regularizers.embeddings import Edit, Spans


class NefTune(Regularizer):
    """NEFTune (Jain et al. 2023, arXiv:2310.05914): uniform noise whose size falls with the length of the row."""

    scope = "task"

    def embeds(self, *, images: bool) -> bool:
        return True

    def edit(self, batch: Batch) -> Edit:
        return self.noisy

    def noisy(self, tokens: Tensor, spans: Spans) -> Tensor:
        """`tokens` plus alpha / sqrt(L d) times numbers from -1 to 1; L tokens in the row, d numbers in a token."""
        size = self.recipe.neftune / (spans.lengths * tokens.shape[-1]).sqrt()
        return tokens + (2 * torch.rand_like(tokens) - 1) * size[spans.row, None]
