"""Cross-entropy in chunks is cross-entropy: values, gradients and memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ftcli.losses import next_token
from ftcli.losses.next_token import next_token_loss, next_token_scores


def inputs(targets: int, vocabulary: int, size: int = 6, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    hidden, weight = (
        torch.randn(rows, size, generator=chance, dtype=torch.float64).requires_grad_()
        for rows in (targets, vocabulary)
    )
    return hidden, weight, torch.randint(0, vocabulary, (targets,), generator=chance)


def textbook(hidden: Tensor, weight: Tensor, labels: Tensor, z: float) -> tuple[Tensor, Tensor]:
    logits = nn.functional.linear(hidden, weight)
    loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
    return loss, z * torch.logsumexp(logits, -1).square().sum()


@settings(max_examples=40, deadline=None)
@given(
    targets=st.integers(0, 40), vocabulary=st.integers(2, 30), chunk=st.integers(1, 50), z=st.sampled_from([0.0, 0.1])
)
def test_equal_to_cross_entropy_of_all_logits(targets: int, vocabulary: int, chunk: int, z: float) -> None:
    given_ = inputs(targets, vocabulary)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(next_token, "FEWEST_TOKENS", chunk)
        patch.setattr(next_token, "LOGITS_ON_CPU", 1)
        found = next_token_loss(*given_, z=z)
        grads = torch.autograd.grad(0.5 * (found[0] + found[1]), given_[:2])
        nll, right = next_token_scores(*given_)
    expected = textbook(*given_, z)
    for a, b in zip(found, expected, strict=True):
        assert a.item() == pytest.approx(b.item(), rel=1e-6, abs=1e-6)
    for a, b in zip(grads, torch.autograd.grad(0.5 * sum(expected), given_[:2]), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    logits = nn.functional.linear(*given_[:2])
    assert torch.allclose(nll.double(), nn.functional.cross_entropy(logits, given_[2], reduction="none"), atol=1e-6)
    assert torch.equal(right, logits.argmax(-1) == given_[2])


def test_gradients_twice_over_the_same_graph() -> None:
    hidden, weight, labels = inputs(9, 7)
    loss = next_token_loss(hidden, weight, labels)[0]
    first, second = (torch.autograd.grad(3 * loss, (hidden, weight), retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("frozen", ["hidden", "weight"])
def test_what_is_frozen_gets_no_gradient(frozen: str) -> None:
    hidden, weight, labels = inputs(9, 7)
    (hidden if frozen == "hidden" else weight).requires_grad_(False)
    next_token_loss(hidden, weight, labels)[0].backward()
    assert (hidden.grad is None) == (frozen == "hidden")
    assert (weight.grad is None) == (frozen == "weight")


def test_in_bf16_as_close_as_autocast_itself_is() -> None:
    hidden, weight, labels = (x.detach().float() if x.is_floating_point() else x for x in inputs(300, 50, size=32))
    exact = [x.clone().requires_grad_() for x in (hidden, weight)]
    textbook(*exact, labels, 0.0)[0].backward()
    errors = []
    for way in (next_token_loss, lambda *given_: textbook(*given_, 0.0)):
        rounded = [x.clone().requires_grad_() for x in (hidden, weight)]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            way(*rounded, labels)[0].backward()
        errors.append([float((a.grad - b.grad).norm() / b.grad.norm()) for a, b in zip(rounded, exact, strict=True)])
    assert all(ours < 1.5 * theirs + 1e-3 for ours, theirs in zip(*errors, strict=True))


def test_logits_of_a_chunk_at_a_time_are_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    log_softmax = torch.log_softmax

    def seen(logits: Tensor, *given_: object, **named: object) -> Tensor:
        sizes.append(len(logits))
        return log_softmax(logits, *given_, **named)

    monkeypatch.setattr(torch, "log_softmax", seen)
    hidden, weight, labels = inputs(10_000, 3, size=2)
    next_token_loss(hidden, weight, labels)[0].backward()
    assert sum(sizes) == 10_000
    assert max(sizes) == next_token.MOST_TOKENS
