"""Optimisers by name, with decay kept off norms and biases; gradients clipped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ftcli.engine.layer_decay import by_layer
from ftcli.engine.row_adamw import RowAdamW, row_embedding
from ftcli.recipe.schema import OptimizerRecipe
from ftcli.registry import Table

OPTIMIZERS = Table(
    "optimizer",
    {
        "adamw": "ftcli.engine.optim:adamw",
        "muon": "ftcli.engine.muon:muon",
    },
)


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: matrices decay; vectors and scalars (norms, biases) do not."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [g for g in groups if g["params"]]


def adamw_settings(model: nn.Module, recipe: OptimizerRecipe) -> dict[str, Any]:
    """What AdamW is told beside the groups; fused where the device has it."""
    fused = next(model.parameters()).device.type in {"cuda", "cpu"}
    return {"lr": recipe.lr, "betas": (recipe.beta1, recipe.beta2), "eps": recipe.eps, "fused": fused}


def adamw(model: nn.Module, recipe: OptimizerRecipe) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101), fused where the device has it."""
    assert recipe.lr is not None
    groups, settings = decay_groups(model, recipe.weight_decay), adamw_settings(model, recipe)
    if recipe.layer_decay < 1:
        groups = by_layer(groups, model, recipe.lr, recipe.layer_decay)
    embedding = row_embedding(model)
    if embedding is not None:
        return RowAdamW(groups, embedding, **settings)
    return torch.optim.AdamW(groups, **settings)


def flush(optimizer: torch.optim.Optimizer) -> None:
    """Bring weights up to date whose updates an optimiser has put off: due before they are scored or kept.

    Only at steps that the recipe determines: what is put off is rounded once, so that the moment shows in the bits.
    """
    if isinstance(optimizer, RowAdamW):
        optimizer.flush()


@torch.no_grad()
def clip_gradients(model: nn.Module, max_norm: float) -> Tensor:
    """Scale the gradients of `model` down to `max_norm`, and return their norm before."""
    parameters = [p for p in model.parameters() if p.grad is not None]
    if not any(p.is_cpu for p in parameters):
        return nn.utils.clip_grad_norm_(parameters, max_norm)
    gradients = []
    for parameter in parameters:
        gradient = parameter.grad
        assert gradient is not None
        if gradient.is_sparse:
            parameter.grad = gradient = gradient.coalesce()
            gradient = gradient.values()
        gradients.append(gradient)
    norm = nn.utils.get_total_norm(gradients)
    scale = max_norm / (norm + 1e-6)
    if not scale >= 1.0:  # on the host it costs nothing to look; NaN counts as too large
        for gradient in gradients:
            gradient.mul_(scale)
    return norm
