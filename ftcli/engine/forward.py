"""How the forward pass runs: activations kept or computed again. Weights and their names stay what they are."""

from __future__ import annotations

from typing import Any

from torch import nn

from ftcli.errors import UsageError


def recompute_activations(model: nn.Module, name: str) -> None:
    """Keep each layer's input only and compute the rest again in the backward pass: the same numbers in less memory.

    Gradient checkpointing of Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost" (arXiv:1604.06174).
    """
    own: Any = model
    if not getattr(own, "supports_gradient_checkpointing", False):
        raise UsageError(
            f"train.activation_checkpointing: {name} ({type(model).__name__}) cannot compute activations again",
            hint="--set train.activation_checkpointing=false; a smaller --batch-size needs less memory too",
        )
    enable = getattr(own, "activation_checkpointing_enable", None) or own.gradient_checkpointing_enable
    enable({"use_reentrant": False})
