"""What is asked of a decoder beside its forward pass: whether it is one, what its head does, to go on with texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ftcli.recipe.schema import GenerationRecipe

TOKENS_ON_CPU, TOKENS_ELSEWHERE = 1 << 13, 1 << 17
"""Tokens whose keys and values are in the cache at a time."""


@dataclass(frozen=True)
class Probe:
    """What a look at a model's answers shows."""

    causal: bool
    """No token's hidden state depends on a later token."""
    plain_head: bool
    """Logits are hidden states times the weight of the output embeddings, and nothing more."""

    @classmethod
    def of(cls, model: Any) -> Probe:
        """Ask `model`, a language model on the host, about two texts of four tokens that differ in the last."""
        ids = torch.tensor([[0, 1, 2, 3], [0, 1, 2, 4]])
        training = model.training
        model.eval()
        with torch.no_grad():
            hidden = getattr(model, model.base_model_prefix)(input_ids=ids, use_cache=False).last_hidden_state
            logits = model(input_ids=ids, use_cache=False).logits
        model.train(training)
        head = model.get_output_embeddings()
        plain = isinstance(head, nn.Linear) and head.bias is None
        return cls(_close(*hidden[:, :3]), plain and _close(nn.functional.linear(hidden, head.weight), logits))


def _close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-4, atol=1e-5 * float(b.detach().abs().max()))


def go_on(model: Any, ids: Tensor, mask: Tensor, recipe: GenerationRecipe, *, most: int, pad: int, end: int) -> Tensor:
    """(texts, tokens) prompts, padded on the left, with at most `most` tokens after each; `pad` after its end.

    `end` is the token that ends a text, where the model does not say itself. Draws come from torch's generator.
    """
    budget = TOKENS_ON_CPU if ids.device.type == "cpu" else TOKENS_ELSEWHERE
    rows = max(1, budget // (recipe.num_beams * (ids.shape[1] + most)))
    own = getattr(model, "generation_config", None)
    options: dict[str, Any] = {
        "max_new_tokens": most,
        "num_beams": recipe.num_beams,
        "do_sample": recipe.do_sample,
        "pad_token_id": pad,
        "eos_token_id": getattr(own, "eos_token_id", None) or end,
    }
    if recipe.do_sample:
        options |= {"temperature": recipe.temperature, "top_p": recipe.top_p, "top_k": recipe.top_k}
    parts = [
        model.generate(input_ids=x, attention_mask=m, **options)
        for x, m in zip(torch.split(ids, rows), torch.split(mask, rows), strict=True)
    ]
    width = max(part.shape[1] for part in parts)
    return torch.cat([nn.functional.pad(part, (0, width - part.shape[1]), value=pad) for part in parts])
