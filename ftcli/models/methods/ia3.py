"""Learnt scales of activations."""

from __future__ import annotations

from typing import Any

from torch import nn

from ftcli.models.methods.pefted import Pefted, common
from ftcli.models.methods.targets import projections


class IA3(Pefted):
    """Vectors that scale keys, values and the inner activations of the feed-forward network.

    Liu et al. 2022, "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning"
    (arXiv:2205.05638).
    """

    lr_scale = 50.0
    usual_targets = ("key", "value", "ffn_out")

    def config(self, model: nn.Module) -> Any:
        from peft import IA3Config

        shared = common(self, model)
        inner = {name for name, role in projections(model).items() if role == "ffn_out"}
        if not self.recipe.targets and not any(role == "key" for role in projections(model).values()):
            shared["target_modules"] += [name for name, role in projections(model).items() if role == "query"]
        feedforward = [name for name in shared["target_modules"] if name in inner]
        return IA3Config(
            **shared, feedforward_modules=feedforward, fan_in_fan_out=type(model).__name__.startswith("GPT2")
        )
