"""Losses of candidates to be put in order: pure functions that return SUMS."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def listwise(scores: Tensor, relevance: Tensor, allowed: Tensor) -> Tensor:
    """Sum over queries of -sum over candidates of q log softmax(scores) -> scalar, fp32; q is `relevance` over its sum.

    `scores`, `relevance`, `allowed` (queries, candidates); candidates that are not allowed take no part, and queries
    without a relevant one add nothing. The top-one form of ListNet with relevances as they are (Cao et al. 2007,
    "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML); with one relevant candidate and those of the
    other queries of a batch beside it, the loss of contrastive learning (InfoNCE, van den Oord et al. 2018,
    arXiv:1807.03748).
    """
    log_p = functional.log_softmax(scores.to(torch.float32).masked_fill(~allowed, -torch.inf), -1)
    share = relevance / relevance.sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return -torch.where(relevance > 0, share * log_p, 0.0).sum()


def pointwise(scores: Tensor, relevance: Tensor, allowed: Tensor) -> Tensor:
    """Sum over allowed candidates of binary cross-entropy against `relevance` from 0 to 1 -> scalar, fp32."""
    return functional.binary_cross_entropy_with_logits(
        scores[allowed].to(torch.float32), relevance[allowed].to(torch.float32), reduction="sum"
    )
