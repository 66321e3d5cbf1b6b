"""Learnt keys and values before a text."""

from __future__ import annotations

from typing import Any

from torch import nn

from ftcli.models.methods.pefted import task_type
from ftcli.models.methods.prompted import Prompted, refuse_without_cache


class Prefix(Prompted):
    """Keys and values of virtual tokens in every layer. Li & Liang 2021, "Prefix-Tuning" (arXiv:2101.00190)."""

    def config(self, model: nn.Module) -> Any:
        """`method.projection` learns them through a small network, as the paper does to train steadily."""
        from peft import PrefixTuningConfig

        refuse_without_cache(model, "prefix")
        recipe = self.recipe
        return PrefixTuningConfig(
            task_type=task_type(model), num_virtual_tokens=recipe.virtual_tokens, prefix_projection=recipe.projection
        )
