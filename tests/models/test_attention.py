"""Attention without padding: each sequence by itself, with exact gradients, dropout and windows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ftcli.models import layout as layouts
from ftcli.models.attention import attend, attend_from_first
from ftcli.models.layout import Layout

CPU = torch.device("cpu")


def random_inputs(tokens: int, heads: int = 2, size: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    q, k, v = (
        torch.randn(tokens, heads, size, dtype=torch.float64, generator=chance).requires_grad_() for _ in range(3)
    )
    return q, k, v


def one_by_one(q: Tensor, k: Tensor, v: Tensor, lengths: list[int], scale: float, window: int | None) -> Tensor:
    """Textbook attention, sequence by sequence."""
    found = []
    for x, y, z in zip(q.split(lengths), k.split(lengths), v.split(lengths), strict=True):
        scores = torch.einsum("qhd,khd->hqk", x, y) * scale
        if window is not None:
            place = torch.arange(len(x))
            scores = scores.masked_fill((place[:, None] - place).abs() > window, -torch.inf)
        found.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), z))
    return torch.cat(found)


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=9), window=st.none() | st.integers(1, 12))
def test_equal_to_textbook_attention(lengths: list[int], window: int | None) -> None:
    q, k, v = random_inputs(sum(lengths))
    upstream = torch.randn(q.shape, dtype=q.dtype, generator=torch.Generator().manual_seed(1))
    expected = one_by_one(q, k, v, lengths, 0.3, window)
    found = attend(q, k, v, Layout(lengths, CPU), scale=0.3, dropout=0.0, window=window)
    assert torch.allclose(found, expected, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(found, (q, k, v), upstream), torch.autograd.grad(expected, (q, k, v), upstream), strict=True
    ):
        assert torch.allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("lengths", [[4, 6, 5], [3, 3, 3], [9, 1, 2], [7]])
@pytest.mark.parametrize("window", [None, 2])
def test_gradients_under_dropout_are_those_of_its_forward_pass(lengths: list[int], window: int | None) -> None:
    layout = Layout(lengths, CPU)

    def seeded(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        torch.manual_seed(3)
        return attend(q, k, v, layout, scale=0.5, dropout=0.3, window=window)

    assert torch.autograd.gradcheck(seeded, random_inputs(sum(lengths)))


def test_dropout_keeps_the_expectation_and_drops_its_share() -> None:
    lengths = [30, 22, 5]
    q, k, _ = (x.detach() for x in random_inputs(57))
    v = torch.ones(57, 2, 4, dtype=torch.float64)  # attention then sums what was kept
    torch.manual_seed(0)
    found = torch.stack(
        [attend(q, k, v, Layout(lengths, CPU), scale=0.1, dropout=0.25, window=None) for _ in range(400)]
    )
    assert found.mean() == pytest.approx(1.0, abs=0.01)
    assert found.std() > 0.05
    uniform = attend(q * 0, k, v, Layout([57], CPU), scale=1.0, dropout=0.25, window=None)
    kept = uniform * 57 * 0.75  # equal probabilities: the number of keys that were kept
    assert torch.allclose(kept, kept.round(), atol=1e-9)
    assert kept.mean() == pytest.approx(57 * 0.75, rel=0.1)


def test_the_same_seed_drops_the_same() -> None:
    q, k, v = random_inputs(20)
    layout = Layout([12, 8], CPU)
    found = []
    for _ in range(2):
        torch.manual_seed(5)
        found.append(attend(q, k, v, layout, scale=0.5, dropout=0.5, window=None))
    assert torch.equal(*found)


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8))
def test_from_first_is_the_first_of_all(lengths: list[int]) -> None:
    q, k, v = random_inputs(sum(lengths))
    layout = Layout(lengths, CPU)
    every = attend(q, k, v, layout, scale=0.4, dropout=0.0, window=None)[layout.first_tokens]
    first = attend_from_first(q[layout.first_tokens], k, v, layout, scale=0.4, dropout=0.0)
    assert torch.allclose(first, every, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(1, 400), min_size=1, max_size=30))
def test_groups_hold_every_sequence_once_and_stay_small(lengths: list[int]) -> None:
    groups = Layout(lengths, CPU).groups
    assert sorted(row for group in groups for row in group.sequences) == list(range(len(lengths)))
    for group in groups:
        assert group.count == 1 or group.count * group.width**2 <= layouts.PORTION
        shortest = min(lengths[row] for row in group.sequences)
        assert shortest >= layouts.NEAR * group.width or shortest >= group.width - layouts.CLOSE
