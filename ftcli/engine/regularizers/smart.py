"""Answers are to change little where embeddings do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ftcli.engine.regularizers.base import Regularizer, Sums
from ftcli.engine.regularizers.embeddings import Shift, Spans, unit
from ftcli.losses.regularize import symmetric_kl

if TYPE_CHECKING:
    from ftcli.engine.regularized import Pass

STEP = 100.0
"""Length of the step uphill in multiples of the radius, as in the paper (1e-3 over 1e-5)."""


class Smart(Regularizer):
    """The smoothness-inducing regulariser of SMART (Jiang et al. 2020, arXiv:1911.03437), without its proximal point.

    Weight times the largest symmetric divergence between the answers for x and for embeddings within a radius of x in
    the maximum norm, found by one step along the gradient from a normal random start. Other than in R-Drop the
    divergence is both directions in full, as in the paper.
    """

    scope = "classification"
    apart_from = ("fgm", "freelb")

    def embeds(self, *, images: bool) -> bool:
        return True

    def counts(self, rows: int) -> dict[str, int]:
        return {"smart": rows}

    def passes(self, one: Pass) -> Iterator[Sums]:
        radius, random = self.recipe.smart_radius, one.generator()

        def first(tokens: Tensor, spans: Spans) -> Tensor:
            drawn = torch.randn(tokens.shape, generator=random, device=tokens.device)
            return (radius * drawn).clamp(-radius, radius)

        outputs = one.outputs()
        clean, shift = outputs[0], Shift(first)
        (near,) = one.outputs(shift, times=1)
        value, spans = shift.known
        (gradient,) = torch.autograd.grad(symmetric_kl(clean.detach(), near), value)
        further = value.detach() + STEP * radius * unit(gradient, spans.largest(gradient))
        (worst,) = one.outputs(Shift.at(further.clamp(-radius, radius)), times=1)
        gap = 2 * symmetric_kl(clean, worst)
        yield {**one.of(outputs), "smart": self.recipe.smart * gap}
