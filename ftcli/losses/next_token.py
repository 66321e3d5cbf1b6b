"""Cross-entropy over a vocabulary without all of its logits in memory: a chunk of tokens at a time.

A batch of 16,384 tokens has 3 GB of logits over GPT-2's vocabulary, as much again for their gradient. Here a chunk's
gradient is taken as soon as its logits are there, so that neither outlives the chunk and none is computed twice (as
Hsu et al. 2024, "Liger Kernel", arXiv:2410.10989, do on GPUs).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

MOST_TOKENS = 4096
"""Tokens of a chunk at most."""
FEWEST_TOKENS = 256
"""Tokens of a chunk at least, where there are as many."""
LOGITS_ON_CPU, LOGITS_ELSEWHERE = 1 << 22, 1 << 26
"""Logits of a chunk at most, unless that takes fewer tokens than the fewest: what a cache holds, what fills a GPU."""


def next_token_loss(hidden: Tensor, weight: Tensor, labels: Tensor, *, z: float = 0.0) -> tuple[Tensor, Tensor]:
    """Sums over targets, fp32 scalars: -log softmax(hidden weight^T)[label], and `z` times (log Z)^2.

    `hidden` (targets, size), `weight` (vocabulary, size), `labels` (targets,). Z is the sum of exp(logits); a small
    `z` keeps it near 1 (the z-loss of PaLM, Chowdhery et al. 2022, arXiv:2204.02311). The first sum carries the
    gradient of both, the second none: for whoever adds the two, or divides both by the same number.
    """
    both, of_z = _Loss.apply(hidden, weight, labels, z)  # type: ignore[no-untyped-call]
    return both - of_z, of_z


@torch.no_grad()
def next_token_scores(hidden: Tensor, weight: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(targets,) each: -log softmax(hidden weight^T)[label] in fp32, and whether the label is the likeliest token."""
    nll, right = torch.empty(len(labels), device=labels.device), torch.empty_like(labels, dtype=torch.bool)
    for part in _chunks(len(hidden), weight):
        log_probabilities = torch.log_softmax(nn.functional.linear(hidden[part], weight), -1, dtype=torch.float32)
        nll[part] = -log_probabilities.gather(1, labels[part, None]).squeeze(1)
        right[part] = log_probabilities.argmax(-1) == labels[part]
    return nll, right


def told(
    x: Tensor, weight: Tensor | None, labels: Tensor, *, z: float = 0.0, smoothing: float = 0.0
) -> dict[str, Tensor]:
    """What became of `labels` (targets,): in training ``loss``, and with `z` ``z``, the sums of `next_token_loss`; else
    ``loss`` and, for each target, ``nll`` and whether it was the likeliest, ``right``.

    `x` are hidden states (targets, size), with the head's `weight` (vocabulary, size); or, where the head is more than
    a product and there is no `weight`, logits (targets, vocabulary). These alone take label `smoothing`.
    """
    if weight is None:
        nll = functional.cross_entropy(x.float(), labels, reduction="none", label_smoothing=smoothing)
        if torch.is_grad_enabled():
            found = {"loss": nll.sum()}
            return {**found, "z": z * torch.logsumexp(x.float(), -1).square().sum()} if z else found
        right = x.argmax(-1) == labels
    elif torch.is_grad_enabled():
        loss, of_z = next_token_loss(x, weight, labels, z=z)
        return {"loss": loss, "z": of_z} if z else {"loss": loss}
    else:
        nll, right = next_token_scores(x, weight, labels)
    return {"loss": nll.sum(), "nll": nll, "right": right}


def by_row(values: Tensor, per_row: Sequence[int]) -> list[float]:
    """(rows,) sums of `values` (targets,), of which each row has so many."""
    sizes = torch.tensor(per_row)
    rows = torch.repeat_interleave(torch.arange(len(sizes)), sizes).to(values.device)
    found: list[float] = torch.zeros(len(sizes), device=values.device).index_add(0, rows, values.float()).tolist()
    return found


class _Loss(torch.autograd.Function):
    """The sum of both losses, with gradients that wait for the backward pass to scale them; and the second alone."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, z: float) -> tuple[Tensor, Tensor]:
        for_hidden, for_weight = ctx.needs_input_grad[:2]
        d_hidden = torch.empty_like(hidden) if for_hidden else None
        d_weight = torch.zeros_like(weight) if for_weight else None
        total, of_z = (torch.zeros((), device=hidden.device) for _ in range(2))
        dtype = _computes_in(hidden)
        with torch.autocast(hidden.device.type, enabled=False):
            table = weight.to(dtype)
            for part in _chunks(len(hidden), weight):
                x, own = hidden[part].to(dtype), labels[part, None]
                logits = x @ table.T
                log_probabilities = torch.log_softmax(logits, -1, dtype=torch.float32)
                log_own = log_probabilities.gather(1, own)
                log_sum = logits.gather(1, own) - log_own
                total -= log_own.sum()
                of_z += z * log_sum.square().sum()
                del logits
                # From here on in place: the probabilities become the gradient of the logits.
                d_logits = log_probabilities.exp_()
                if z:
                    d_logits.mul_(1 + 2 * z * log_sum)
                rows = torch.arange(len(x), device=x.device)
                d_logits[rows, labels[part]] -= 1  # each place once: no kernel that adds in any order
                d_logits = d_logits.to(dtype)
                if d_hidden is not None:
                    d_hidden[part] = d_logits @ table
                if d_weight is not None:
                    d_weight.add_(d_logits.T @ x)
        ctx.save_for_backward(d_hidden, d_weight)
        ctx.mark_non_differentiable(of_z)
        return total + of_z, of_z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, d_weight = (None if x is None else x * grads[0].to(x.dtype) for x in ctx.saved_tensors)
        return d_hidden, d_weight, None, None


def _computes_in(x: Tensor) -> torch.dtype:
    """What a product of `x` is computed in: autocast's type, or its own."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _chunks(targets: int, weight: Tensor) -> Iterator[slice]:
    most = LOGITS_ON_CPU if weight.device.type == "cpu" else LOGITS_ELSEWHERE
    size = min(MOST_TOKENS, max(FEWEST_TOKENS, most // len(weight)))
    return (slice(start, start + size) for start in range(0, targets, size))
