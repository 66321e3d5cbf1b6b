"""What is asked of a decoder beside its forward pass: whether it is one, what its head does, to go on with texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ftcli.models.heads import at_places
from ftcli.recipe.task_schema import GenerationRecipe

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


def tokens_told(
    model: Any, inputs: Mapping[str, Tensor], places: Tensor, *, plain_head: bool
) -> tuple[Tensor, Tensor | None]:
    """What a decoder of `head_at_places` says at `places` (targets,) of the rows laid end to end.

    Hidden states (targets, size) with the head's weight, where logits are no more than their product; else logits
    (targets, vocabulary) and None.
    """
    head = model.get_output_embeddings()
    compiled = getattr(model, "_compiled_call_impl", None) is not None
    with at_places(places):
        if not plain_head or compiled or type(head) is not nn.Linear:  # an adapted head is no plain one any more
            return model(**inputs, use_cache=False).logits[0].float(), None
        # Not through the head, which would leave out again what the places are filled up with.
        base = getattr(model, str(model.base_model_prefix))
        return base(**inputs, use_cache=False).last_hidden_state[0, : len(places)], head.weight


def go_on(
    model: Any, ids: Tensor, mask: Tensor, recipe: GenerationRecipe, *, most: int, pad: int, end: int | Sequence[int]
) -> Tensor:
    """(texts, tokens) prompts, padded on the left, with at most `most` tokens after each; `pad` after its end.

    `end` is the token that ends a text, where the model does not say itself; several are taken in any case. Draws come
    from torch's generator.
    """
    budget = TOKENS_ON_CPU if ids.device.type == "cpu" else TOKENS_ELSEWHERE
    rows = max(1, budget // (recipe.num_beams * (ids.shape[1] + most)))
    own = getattr(model, "generation_config", None)
    options: dict[str, Any] = {
        "max_new_tokens": most,
        "num_beams": recipe.num_beams,
        "do_sample": recipe.do_sample,
        "pad_token_id": pad,
        "eos_token_id": _ends(getattr(own, "eos_token_id", None), end),
    }
    if recipe.num_beams > 1:
        options["length_penalty"] = recipe.length_penalty
    if recipe.no_repeat_ngram:
        options["no_repeat_ngram_size"] = recipe.no_repeat_ngram
    if recipe.do_sample:
        options |= {"temperature": recipe.temperature, "top_p": recipe.top_p, "top_k": recipe.top_k}
    parts = [
        model.generate(input_ids=x, attention_mask=m, **options)
        for x, m in zip(torch.split(ids, rows), torch.split(mask, rows), strict=True)
    ]
    width = max(part.shape[1] for part in parts)
    return torch.cat([nn.functional.pad(part, (0, width - part.shape[1]), value=pad) for part in parts])


def _ends(own: int | Sequence[int] | None, given: int | Sequence[int]) -> int | list[int]:
    """The tokens that end a text: those that the model says, else the one `given`; of several given all."""
    said = [] if own is None else [own] if isinstance(own, int) else list(own)
    if isinstance(given, int):
        return said or given
    return list(dict.fromkeys([*said, *given]))
