"""Each batch once more, its embeddings moved a little to where the loss grows fastest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from ftcli.engine.regularizers.base import Regularizer, Sums
from ftcli.engine.regularizers.embeddings import Shift, unit

if TYPE_CHECKING:
    from ftcli.engine.regularized import Pass


class Fgm(Regularizer):
    """Adversarial training of Miyato et al. 2017, "Adversarial Training Methods for Semi-Supervised Text
    Classification" (arXiv:1605.07725), the fast gradient method: the loss of a row and, with the same weight, its loss
    with epsilon g / |g| on its embeddings, g the gradient there over the whole row."""

    scope = "task"
    apart_from = ("freelb", "smart")

    def embeds(self, *, images: bool) -> bool:
        return True

    def passes(self, one: Pass) -> Iterator[Sums]:
        shift = Shift(lambda tokens, spans: torch.zeros_like(tokens))
        yield one.losses(shift)
        value, spans = shift.known
        gradient = value.grad
        worst = value.detach()
        if gradient is not None:
            worst = worst + self.recipe.fgm * unit(gradient, spans.norms(gradient))
        yield one.losses(Shift.at(worst))
