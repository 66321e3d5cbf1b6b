"""Regularising losses against their formulas, written out or torch's own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from ftcli.losses.regularize import regularized_cross_entropy, symmetric_kl


def some(rows: int, classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (rows,), generator=random)
    return 3 * torch.randn(rows, classes, generator=random, dtype=torch.float32), labels


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 9), classes=st.integers(2, 7), seed=st.integers(0, 99), smoothing=st.sampled_from([0, 0.1, 0.5])
)
def test_smoothing_and_weights_are_torch_s(rows: int, classes: int, seed: int, smoothing: float) -> None:
    logits, labels = some(rows, classes, seed)
    found = regularized_cross_entropy(logits, labels, smoothing=smoothing)
    own = functional.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)
    assert float(found) == pytest.approx(float(own), rel=1e-5)
    weights = torch.linspace(0.5, 2, classes)
    weighted = functional.cross_entropy(logits, labels, weights, reduction="sum")
    assert float(regularized_cross_entropy(logits, labels, weights=weights)) == pytest.approx(float(weighted), rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 9), classes=st.integers(2, 7), seed=st.integers(0, 99), gamma=st.sampled_from([0, 1, 2, 0.5])
)
def test_the_focal_loss_is_the_paper_s(rows: int, classes: int, seed: int, gamma: float) -> None:
    logits, labels = some(rows, classes, seed)
    p = torch.softmax(logits.double(), -1)[torch.arange(rows), labels]
    wanted = (-((1 - p) ** gamma) * p.log()).sum()
    assert float(regularized_cross_entropy(logits, labels, focal=gamma)) == pytest.approx(
        float(wanted), rel=1e-4, abs=1e-5
    )


def test_a_row_told_with_certainty_has_a_finite_gradient() -> None:
    logits = torch.tensor([[40.0, -40.0]], requires_grad=True)
    regularized_cross_entropy(logits, torch.tensor([0]), focal=2.0, smoothing=0.1).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 9), classes=st.integers(2, 7), seed=st.integers(0, 99))
def test_the_disagreement_is_half_of_either_divergence(rows: int, classes: int, seed: int) -> None:
    one, other = some(rows, classes, seed)[0], some(rows, classes, seed + 100)[0]
    log_p, log_q = torch.log_softmax(one, -1), torch.log_softmax(other, -1)
    forward = functional.kl_div(log_q, log_p, reduction="sum", log_target=True)
    backward = functional.kl_div(log_p, log_q, reduction="sum", log_target=True)
    assert float(symmetric_kl(one, other)) == pytest.approx(float((forward + backward) / 2), rel=1e-4, abs=1e-5)
    assert float(symmetric_kl(one, one)) == 0
