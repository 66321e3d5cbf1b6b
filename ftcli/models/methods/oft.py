"""Rotations of projections."""

from __future__ import annotations

from typing import Any

from ftcli.errors import UsageError
from ftcli.models.methods.pefted import Pefted, common, smallest_input


class OFT(Pefted):
    """Projections turned by orthogonal matrices in blocks: angles between neurons stay as they were learnt.

    Qiu et al. 2023, "Controlling Text-to-Image Diffusion by Orthogonal Finetuning" (arXiv:2306.07280); the Cayley
    transform by a series, as in Qiu et al. 2025 (arXiv:2506.19847).
    """

    def config(self, model: Any) -> Any:
        from peft import OFTConfig

        if model.config.model_type == "gpt2":
            raise UsageError("method oft rotates linear layers, and GPT-2 keeps its projections in layers of its own",
                             hint="--method lora")  # fmt: skip
        shared = common(self, model)
        size, least = self.recipe.block_size, smallest_input(model, shared["target_modules"])
        if size > least:
            raise UsageError(
                f"method.block_size is {size}, and a projection of this model takes {least} numbers",
                hint=f"--set method.block_size={least}",
            )
        return OFTConfig(
            **shared,
            r=0,
            oft_block_size=size,
            module_dropout=0.0,
            use_cayley_neumann=True,
        )
