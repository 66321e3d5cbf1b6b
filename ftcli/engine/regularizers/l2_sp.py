"""Pretrained weights are pulled back to where they began, new ones to nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ftcli.engine.regularizers.base import Ground, Regularizer
from ftcli.errors import UsageError


class L2Sp(Regularizer):
    """L2-SP (Li et al. 2018, arXiv:1802.01483): alpha / 2 times the squared distance of the pretrained weights to
    their starting point, plus beta / 2 times the squared norm of those that are new."""

    from_pretrained = True

    def attach(self, ground: Ground) -> None:
        held = ground.held()
        if not held:
            raise UsageError(
                f"regularize.l2_sp holds pretrained weights, and {ground.adapts} trains none", hint="leave it out"
            )
        self._held: list[tuple[nn.Parameter, Tensor]] = [(p, p.detach().clone()) for p in held.values()]
        self._new = [p for name, p in ground.trained().items() if name not in held]

    def penalty(self) -> Tensor | None:
        """Of the weights that are trained at this step."""
        recipe = self.recipe
        parts = [recipe.l2_sp / 2 * (p - start).pow(2).sum() for p, start in self._held if p.requires_grad]
        parts += [recipe.l2_sp_new / 2 * p.pow(2).sum() for p in self._new if p.requires_grad]
        return torch.stack(parts).sum() if parts else None
