"""Optimisers by name, with decay kept off norms and biases."""

from __future__ import annotations

import torch
from torch import nn

from ftcli.recipe.schema import OptimizerRecipe
from ftcli.registry import Table

OPTIMIZERS = Table("optimizer", {"adamw": "ftcli.engine.optim:adamw"})


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Trainable parameters in two groups: matrices decay; vectors and scalars (norms, biases) do not."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, object]] = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [g for g in groups if g["params"]]


def adamw(model: nn.Module, recipe: OptimizerRecipe) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101), fused where the device has it."""
    assert recipe.lr is not None
    device = next(model.parameters()).device.type
    return torch.optim.AdamW(
        decay_groups(model, recipe.weight_decay),
        lr=recipe.lr,
        betas=(recipe.beta1, recipe.beta2),
        eps=recipe.eps,
        fused=device in {"cuda", "cpu"},
    )
