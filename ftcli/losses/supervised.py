"""Losses against given answers: pure functions that return SUMS; the loop divides by the counts of targets."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum over rows of -log softmax(logits)[label]. `logits` (rows, classes), `labels` (rows,) -> scalar, fp32."""
    return functional.cross_entropy(logits.to(torch.float32), labels, reduction="sum")


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum of -log sigmoid of `logits` (n,) where `labels` (n,) are 1, of -log(1 - sigmoid) where 0 -> scalar, fp32."""
    return functional.binary_cross_entropy_with_logits(
        logits.to(torch.float32), labels.to(torch.float32), reduction="sum"
    )


def distance(predicted: Tensor, true: Tensor, kind: str, delta: float = 1.0) -> Tensor:
    """Sum over rows of how far `predicted` (rows,) is from `true` (rows,) -> scalar, fp32.

    `kind` is mse (the square), mae (the absolute value) or huber: half the square up to `delta` and, beyond, a straight
    line with the same slope there (Huber 1964, "Robust Estimation of a Location Parameter").
    """
    predicted, true = predicted.to(torch.float32), true.to(torch.float32)
    if kind == "huber":
        return functional.huber_loss(predicted, true, reduction="sum", delta=delta)
    return (functional.mse_loss if kind == "mse" else functional.l1_loss)(predicted, true, reduction="sum")
