"""Norms alone."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from ftcli.models.methods.base import Selected


class LayerNorms(Selected):
    """Scales and shifts of all norms, and the head.

    Zhao et al. 2024, "Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM Finetuning" (arXiv:2312.11420).
    """

    def selected(self, model: nn.Module) -> Collection[str]:
        """Parameters of layer norms and of what goes by the name of one (RMSNorm)."""
        return [
            f"{name}.{own}"
            for name, module in model.named_modules()
            if isinstance(module, nn.LayerNorm) or type(module).__name__.lower().endswith("norm")
            for own, _ in module.named_parameters(recurse=False)
        ]
