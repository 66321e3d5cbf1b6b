"""Losses that keep a classifier from being too sure of its training rows: pure functions that return SUMS."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def regularized_cross_entropy(
    logits: Tensor, labels: Tensor, *, smoothing: float = 0.0, focal: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy with soft targets, less of easy rows, and classes weighted. `logits` (rows, classes), `labels`
    (rows,) or, where answers are mixed, the share of each (rows, classes), `weights` (classes,) -> scalar, fp32.

    Row i adds w[y] (1 - p[y])^focal (-sum over classes c of q[c] log p[c]), where q is 1 - `smoothing` at y plus
    `smoothing` spread evenly over all classes (Szegedy et al. 2016, arXiv:1512.00567), and the power is the focal
    loss of Lin et al. 2017 (arXiv:1708.02002). A row of mixed answers adds as much of each as it has of it.
    """
    log_p = functional.log_softmax(logits.to(torch.float32), -1)
    mixed = labels.ndim == 2
    own = log_p if mixed else log_p.gather(1, labels[:, None])  # (rows, answers)
    found = -(1 - smoothing) * own - smoothing * log_p.mean(-1, keepdim=True)
    if focal:
        found = (1 - own.exp()).clamp(min=0) ** focal * found
    if weights is not None:
        found = (weights if mixed else weights[labels][:, None]) * found
    return (labels * found if mixed else found).sum()


def symmetric_kl(one: Tensor, other: Tensor) -> Tensor:
    """Sum over rows of half KL(p||q) + half KL(q||p), p and q the softmax of `one` and `other` (rows, classes); fp32.

    The consistency of R-Drop (Wu et al. 2021, arXiv:2106.14448).
    """
    log_p, log_q = (functional.log_softmax(x.to(torch.float32), -1) for x in (one, other))
    return 0.5 * ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum()
