"""Low-rank updates of projections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ftcli.errors import UsageError
from ftcli.models.methods.pefted import Pefted, common


class LoRA(Pefted):
    """W + scale B A for every projection, A and B of `method.rank`. Hu et al. 2021, "LoRA" (arXiv:2106.09685).

    Variants: the scale of rsLoRA (Kalajdzievski 2023, arXiv:2312.03732), magnitudes learnt apart from directions (DoRA,
    Liu et al. 2024, arXiv:2402.09353), and a start from the main singular vectors (PiSSA, Meng et al. 2024,
    arXiv:2404.02948; saved as a LoRA of twice the rank over the base as it was).
    """

    def config(self, model: nn.Module) -> Any:
        """All projections by default: at the same rank better than attention's alone (Dettmers et al. 2023,
        arXiv:2305.14314)."""
        from peft import LoraConfig

        recipe, rank = self.recipe, self.recipe.rank or 8
        if recipe.dora and recipe.pissa:
            raise UsageError("method.dora and method.pissa start from different weights; one of the two",
                             hint="--set method.dora=false")  # fmt: skip
        return LoraConfig(
            **common(self, model),
            r=rank,
            lora_alpha=recipe.alpha or 2 * rank,
            lora_dropout=recipe.dropout,
            use_rslora=recipe.rslora,
            use_dora=recipe.dora,
            init_lora_weights="pissa_niter_16" if recipe.pissa else True,
            fan_in_fan_out=type(model).__name__.startswith("GPT2"),
        )

    def extend(self, model: nn.Module) -> nn.Module:
        """With PiSSA, what the base's weights were reduced by is remembered: the saved form is relative to the base."""
        adapted = super().extend(model)
        if self.recipe.pissa:
            self._start = {name: p.detach().clone() for name, p in adapted.named_parameters() if ".lora_" in name}
        return adapted

    def write(self, model: Any, folder: Path) -> None:
        """As it is; a PiSSA as the LoRA [B, -B0] [A; A0] of twice the rank."""
        if not self.recipe.pissa:
            super().write(model, folder)
            return
        config = self.peft.peft_config["default"]
        before = (config.r, config.lora_alpha, config.init_lora_weights)
        learnt = {}
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                learnt[name], start = parameter.data, self._start[name].to(parameter.device)
                second = name.split(".lora_")[1].startswith("B")
                parameter.data = (
                    torch.cat([parameter.data, -start], 1) if second else torch.cat([parameter.data, start])
                )
        # The scale is alpha / rank, or alpha / sqrt(rank) with rsLoRA; it has to stay.
        config.r, config.init_lora_weights = 2 * config.r, True
        config.lora_alpha = before[1] * (2**0.5 if config.use_rslora else 2)
        super().write(model, folder)
        config.r, config.lora_alpha, config.init_lora_weights = before
        for name, parameter in model.named_parameters():
            if name in learnt:
                parameter.data = learnt[name]
