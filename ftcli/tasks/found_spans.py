"""Spans of tokens out of scores for their ends, and what separates two texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def best_spans(logits: Tensor, longest: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of each window (windows,): the score of its best span, where that begins, how many tokens come after its first,
    and the log of the sum over all spans of at most `longest` tokens of exp(score)."""
    first, last = logits
    width = first.shape[-1]
    best = first.new_full((len(first),), -torch.inf)
    where, length = torch.zeros_like(best, dtype=torch.int64), torch.zeros_like(best, dtype=torch.int64)
    total = best.double()
    for more in range(min(longest, width)):
        scores = first[:, : width - more] + last[:, more:]
        top, at = scores.max(-1)
        better = top > best
        best, where = torch.where(better, top, best), torch.where(better, at, where)
        length = torch.where(better, more, length)
        total = torch.logaddexp(total, scores.double().logsumexp(-1))
    found = (x.cpu().numpy() for x in (best.double(), where, length, total))
    return next(found), next(found), next(found), next(found)


def trimmed(context: str, start: int, end: int) -> tuple[int, int]:
    """A span without white space at its ends, which tokens may begin with."""
    while start < end and context[start].isspace():
        start += 1
    while start < end and context[end - 1].isspace():
        end -= 1
    return start, end


def separator(tokenizer: Any) -> tuple[int, ...]:
    """What tells question and context apart where the tokenizer puts nothing between two texts."""
    ids = tokenizer(str(tokenizer.sep_token or tokenizer.eos_token or "\n"), add_special_tokens=False)["input_ids"]
    return tuple(int(i) for i in ids)
