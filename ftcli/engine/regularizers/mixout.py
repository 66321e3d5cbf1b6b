"""Dropout that puts the pretrained weight in the place of nothing."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ftcli.engine.regularizers.base import Ground, Regularizer
from ftcli.errors import UsageError
from ftcli.models.dropout import dropped_share, keep_mask


class Mixout(Regularizer):
    """mixout (Lee et al. 2020, arXiv:1909.11299) of the matrices of pretrained linear layers, as its authors' code."""

    from_pretrained = True
    compiles = False

    def attach(self, ground: Ground) -> None:
        held = {id(p) for p in ground.held().values()}
        found = [
            module
            for module in ground.model.modules()
            if isinstance(module, nn.Linear | Conv1D) and id(module.weight) in held
        ]
        if not found:
            raise UsageError(
                f"regularize.mixout mixes pretrained matrices, and {ground.adapts} trains none", hint="leave it out"
            )
        for module in found:
            start = module.weight.detach().clone()
            setattr(module, "forward", partial(_mixing, module, module.forward, start, self.recipe.mixout))  # noqa: B010


def _mixing(module: Any, forward: Any, start: Tensor, rate: float, x: Tensor) -> Tensor:
    """The module's result, in training with another matrix each time."""
    own = module.weight
    if not (module.training and own.requires_grad):
        return forward(x)  # type: ignore[no-any-return]
    module._parameters["weight"] = mixed(own, start, rate)
    try:
        return forward(x)  # type: ignore[no-any-return]
    finally:
        module._parameters["weight"] = own


def mixed(weight: Tensor, start: Tensor, rate: float) -> Tensor:
    """`weight` with a share `rate` of its entries those of `start`, then moved so that the expectation is `weight`."""
    if weight.is_cpu:
        rate = dropped_share(rate)
        keep = keep_mask(weight.numel(), rate).view(weight.shape).to(weight.dtype)
    else:
        keep = (torch.rand_like(weight) >= rate).to(weight.dtype)
    return torch.addcmul(start, keep, weight - start, value=1 / (1 - rate))
