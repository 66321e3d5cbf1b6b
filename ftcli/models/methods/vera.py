"""Low-rank updates through fixed random matrices."""

from __future__ import annotations

from typing import Any

from torch import nn

from ftcli.models.methods.pefted import Pefted, common


class VeRA(Pefted):
    """LoRA's two matrices drawn once for all layers and kept; what is learnt is a vector behind each.

    Kopiczko et al. 2023, "VeRA: Vector-based Random Matrix Adaptation" (arXiv:2310.11454).
    """

    lr_scale = 50.0

    def config(self, model: nn.Module) -> Any:
        from peft import VeraConfig

        return VeraConfig(
            **common(self, model),
            r=self.recipe.rank or 256,
            vera_dropout=self.recipe.dropout,
            save_projection=True,  # a file that needs no other machine's random numbers
            fan_in_fan_out=type(model).__name__.startswith("GPT2"),
        )
