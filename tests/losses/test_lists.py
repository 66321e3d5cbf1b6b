"""Losses over candidates and over windows, by hand and against other ways to write them."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from ftcli.losses.ranking import listwise, pointwise
from ftcli.losses.spans import span_loss

INF = torch.inf


def test_one_relevant_candidate_is_cross_entropy() -> None:
    scores = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 3, 5, 2])
    relevance = functional.one_hot(labels, 6).float() * 7
    found = listwise(scores, relevance, torch.ones(4, 6, dtype=torch.bool))
    assert torch.allclose(found, functional.cross_entropy(scores, labels, reduction="sum"))


def test_graded_and_left_out() -> None:
    """Gains 2 and 1 of equal scores: two thirds and one third of log 2; the third candidate takes no part."""
    scores = torch.tensor([[1.0, 1.0, 9.0], [0.0, 0.0, 0.0]], requires_grad=True)
    allowed = torch.tensor([[True, True, False], [True, True, True]])
    found = listwise(scores, torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]]), allowed)
    assert float(found) == pytest.approx(math.log(2))
    found.backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    assert scores.grad[0, 2] == 0
    assert not scores.grad[1].any(), "a query without a relevant candidate teaches nothing"
    assert torch.isfinite(scores.grad).all()


def test_each_by_itself() -> None:
    scores = torch.tensor([[0.0, -INF], [2.0, 1.0]], requires_grad=True)
    found = pointwise(scores, torch.tensor([[0.5, 0.0], [1.0, 0.0]]), scores > -INF)
    assert float(found) == pytest.approx(math.log(2) + math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1)))
    found.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(scores.grad).all()  # type: ignore[arg-type]


def test_one_softmax_over_the_windows_of_a_text() -> None:
    """Two texts of two windows and one; the first's answer is in both of its windows."""
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(2))
    logits[:, 1, 3] = -INF
    logits.requires_grad_()
    right = torch.zeros(2, 3, 4, dtype=torch.bool)
    right[0, 0, 3] = right[0, 1, 0] = right[1, 1, 2] = right[0, 2, 1] = right[1, 2, 1] = True
    found = span_loss(logits, right, torch.tensor([0, 1, 2]), (2, 2))
    first = [torch.softmax(logits[side, :2].reshape(-1), 0) for side in (0, 1)]
    second = [torch.softmax(logits[side, 2], 0) for side in (0, 1)]
    parts = (first[0][3] + first[0][4], first[1][6], second[0][1], second[1][1])
    assert torch.allclose(found, -sum(p.log() for p in parts) / 2)  # type: ignore[arg-type]
    found.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(logits.grad).all()  # type: ignore[arg-type]
