"""Decoders from scratch have the sizes they are named for."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from ftcli.models.load import open_source
from ftcli.recipe.schema import ModelRecipe

MILLIONS = {"gpt2-tiny": 0.53, "gpt2-mini": 3.42, "gpt2-small": 85.8, "llama-tiny": 0.39, "llama-mini": 2.95}
"""Weights beside the embedding of tokens."""


@pytest.mark.parametrize("name", MILLIONS)
def test_weights(name: str) -> None:
    config = open_source(ModelRecipe(name=f"preset:{name}")).config
    config.vocab_size = 50_257
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    total = sum(p.numel() for p in model.parameters())
    assert (total - 50_257 * config.hidden_size) / 1e6 == pytest.approx(MILLIONS[name], rel=0.02)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    if name == "gpt2-small":
        assert round(total / 1e6) == 124
