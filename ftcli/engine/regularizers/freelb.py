"""Each batch a few times, its embeddings moved further uphill each time, and the mean of what it teaches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ftcli.engine.regularizers.base import Regularizer, Sums
from ftcli.engine.regularizers.embeddings import Shift, Spans, unit

if TYPE_CHECKING:
    from ftcli.engine.regularized import Pass


class FreeLb(Regularizer):
    """FreeLB (Zhu et al. 2020, arXiv:1909.11764), its algorithm 1: from U(-epsilon, epsilon) / sqrt(n), n the numbers
    of a row, K steps of alpha g / |g|, kept within epsilon; gradients of the weights are the mean of all K. Dropout is
    the same in all of them, as section 3.3 has it."""

    scope = "task"
    apart_from = ("fgm", "smart")

    def embeds(self, *, images: bool) -> bool:
        return True

    def passes(self, one: Pass) -> Iterator[Sums]:
        recipe, times = self.recipe, self.recipe.freelb
        random = one.generator()

        def first(tokens: Tensor, spans: Spans) -> Tensor:
            drawn = torch.rand(tokens.shape, generator=random, device=tokens.device)
            size = recipe.freelb_radius / (spans.lengths * tokens.shape[-1]).sqrt()
            return (2 * drawn - 1) * size[spans.row, None]

        shift = Shift(first)
        for done in range(1, times + 1):
            yield {name: value / times for name, value in one.losses(shift).items()}
            value, spans = shift.known
            gradient = value.grad
            if done < times and gradient is not None:
                further = value.detach() + recipe.freelb_step * unit(gradient, spans.norms(gradient))
                shift = Shift.at(within(further, spans, recipe.freelb_radius))


def within(x: Tensor, spans: Spans, radius: float) -> Tensor:
    """`x` (tokens, size) with each row brought back to a norm of at most `radius`."""
    return x * (radius / spans.norms(x).clamp(min=1e-12)).clamp(max=1.0)
