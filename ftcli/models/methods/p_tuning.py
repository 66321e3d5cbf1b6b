"""Learnt embeddings before a text, made by a small network."""

from __future__ import annotations

from typing import Any

from torch import nn

from ftcli.models.methods.pefted import task_type
from ftcli.models.methods.prompted import Prompted


class PTuning(Prompted):
    """Embeddings of virtual tokens as a small network gives them, which ties them to each other.

    Liu et al. 2021, "GPT Understands, Too" (arXiv:2103.10385). What is saved is what the network gives.
    """

    def config(self, model: nn.Module) -> Any:
        from peft import PromptEncoderConfig

        return PromptEncoderConfig(
            task_type=task_type(model),
            num_virtual_tokens=self.recipe.virtual_tokens,
            encoder_hidden_size=model.get_input_embeddings().weight.shape[1],  # type: ignore[operator]
        )
