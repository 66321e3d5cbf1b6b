"""The loss of spans that are looked for in several windows of one text."""

from __future__ import annotations

import torch
from torch import Tensor


def span_loss(logits: Tensor, right: Tensor, slots: Tensor, shape: tuple[int, int]) -> Tensor:
    """Sum over texts of -log p(right first token) - log p(right last token), halved -> scalar, fp32.

    `logits` (2, windows, tokens) for first and last tokens, -inf for what can be neither; `right` of the same shape, at
    least one of each per text; `slots` (windows,) the place of each window among the `shape` = (texts, most windows of
    one). One softmax goes over all windows of a text, so that their scores can be compared: the shared normalisation of
    Clark and Gardner 2018 (arXiv:1710.10723). A token that several windows hold is right in each; their probabilities
    add up.
    """
    texts, most = shape
    logits = logits.to(torch.float32)

    def by_text(x: Tensor) -> Tensor:
        whole = x.new_full((2, texts * most, x.shape[-1]), -torch.inf).index_copy(1, slots, x)
        return torch.logsumexp(whole.view(2, texts, -1), -1)

    return (by_text(logits) - by_text(logits.masked_fill(~right, -torch.inf))).sum() / 2


def gathered(logits: Tensor, onto: Tensor, places: int) -> Tensor:
    """(2, places) log of the summed exp of `logits` (2, windows, tokens), each of which goes `onto` (windows, tokens)
    its place; -inf where nothing does."""
    x, onto = logits.flatten(1), onto.flatten().expand(2, -1)
    highest = torch.full((2, places), -torch.inf, device=x.device).scatter_reduce(1, onto, x.detach(), "amax")
    highest = highest.masked_fill(torch.isneginf(highest), 0.0)
    total = torch.zeros_like(highest).scatter_add(1, onto, (x - highest.gather(1, onto)).exp())
    found = total.clamp(min=torch.finfo(torch.float32).tiny).log() + highest
    return torch.where(total > 0, found, -torch.inf)
