"""A vector for each text, out of an encoder's outputs for its tokens; and how to make it without ftcli."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_MEAN = "mask = inputs['attention_mask'][:, :, None]\nvectors = (hidden * mask).sum(1) / mask.sum(1)"
_FIRST = "vectors = hidden[:, 0]"


def pooled(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """(texts, size) fp32, of length 1: the mean of the real tokens, or the first one (pooling cls).

    `hidden` (texts, tokens, size), or (texts, 1, size) where only first tokens were computed; `mask` (texts, tokens).
    """
    hidden = hidden.to(torch.float32)
    if pooling == "mean":
        real = mask.to(torch.float32)[:, :, None]
        vectors = (hidden * real).sum(1) / real.sum(1)
    else:
        first = mask.argmax(1) if hidden.shape[1] > 1 else torch.zeros_like(mask[:, 0])
        vectors = hidden[torch.arange(len(hidden), device=hidden.device), first]
    return functional.normalize(vectors, dim=-1)


def usage(pooling: str) -> str:
    """The same by the transformers library alone, in Python."""
    return f"""from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

tokenizer, model = (kind.from_pretrained("path/to/this/folder") for kind in (AutoTokenizer, AutoModel))
inputs = tokenizer(["some text", "another"], padding=True, truncation=True, return_tensors="pt")
hidden = model(**inputs).last_hidden_state
{_MEAN if pooling == "mean" else _FIRST}
vectors = normalize(vectors, dim=-1)  # products of these are the cosines that candidates are ordered by"""
