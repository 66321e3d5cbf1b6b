"""Attention without padding: each sequence by itself, with exact gradients, dropout and windows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ftcli.models import layout as layouts
from ftcli.models.attention import Sight, attend, attend_from_first
from ftcli.models.layout import Layout

CPU = torch.device("cpu")


def random_inputs(
    tokens: int, heads: int = 2, size: int = 4, seed: int = 0, shared: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    q, k, v = (
        torch.randn(tokens, count, size, dtype=torch.float64, generator=chance).requires_grad_()
        for count in (heads * shared, heads, heads)
    )
    return q, k, v


def one_by_one(q: Tensor, k: Tensor, v: Tensor, lengths: list[int], scale: float, sight: Sight) -> Tensor:
    """Textbook attention, sequence by sequence; the heads of `k` and `v` serve as many of `q` each."""
    found = []
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    for x, y, z in zip(q.split(lengths), k.split(lengths), v.split(lengths), strict=True):
        scores = torch.einsum("qhd,khd->hqk", x, y) * scale
        hidden = [[not visible(q, k, sight) for k in range(len(x))] for q in range(len(x))]
        scores = scores.masked_fill(torch.tensor(hidden), -torch.inf)
        found.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), z))
    return torch.cat(found)


def visible(query: int, key: int, sight: Sight) -> bool:
    near = sight.window is None or abs(query - key) <= sight.window
    return near and not (sight.causal and key > query)


SIGHTS = st.builds(Sight, st.none() | st.integers(1, 12), st.booleans())


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=9), sight=SIGHTS, shared=st.integers(1, 3))
def test_equal_to_textbook_attention(lengths: list[int], sight: Sight, shared: int) -> None:
    q, k, v = random_inputs(sum(lengths), shared=shared)
    upstream = torch.randn(q.shape, dtype=q.dtype, generator=torch.Generator().manual_seed(1))
    expected = one_by_one(q, k, v, lengths, 0.3, sight)
    found = attend(q, k, v, Layout(lengths, CPU), scale=0.3, dropout=0.0, sight=sight)
    assert torch.allclose(found, expected, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(found, (q, k, v), upstream), torch.autograd.grad(expected, (q, k, v), upstream), strict=True
    ):
        assert torch.allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("lengths", [[4, 6, 5], [3, 3, 3], [9, 1, 2], [7]])
@pytest.mark.parametrize("sight", [Sight(), Sight(2), Sight(causal=True), Sight(2, causal=True)])
def test_gradients_under_dropout_are_those_of_its_forward_pass(lengths: list[int], sight: Sight) -> None:
    layout = Layout(lengths, CPU)

    def seeded(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        torch.manual_seed(3)
        return attend(q, k, v, layout, scale=0.5, dropout=0.3, sight=sight)

    assert torch.autograd.gradcheck(seeded, random_inputs(sum(lengths)))


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8), window=st.none() | st.integers(1, 5))
def test_under_dropout_no_query_sees_what_comes_after_it(lengths: list[int], window: int | None) -> None:
    """Values that are one-hot by place show which keys each query took in."""
    total = sum(lengths)
    q, k, _ = (x.detach() for x in random_inputs(total, heads=1, size=total))
    v = torch.eye(total, dtype=torch.float64)[:, None]
    sight = Sight(window, causal=True)
    torch.manual_seed(0)
    seen = attend(q, k, v, Layout(lengths, CPU), scale=0.1, dropout=0.004, sight=sight)[:, 0] > 0
    document = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    allowed = torch.tensor(
        [[bool(document[q] == document[k]) and visible(q, k, sight) for k in range(total)] for q in range(total)]
    )
    assert not (seen & ~allowed).any()
    assert seen.sum() >= 0.5 * allowed.sum()


def test_dropout_keeps_the_expectation_and_drops_its_share() -> None:
    lengths = [30, 22, 5]
    q, k, _ = (x.detach() for x in random_inputs(57))
    v = torch.ones(57, 2, 4, dtype=torch.float64)  # attention then sums what was kept
    torch.manual_seed(0)
    found = torch.stack([attend(q, k, v, Layout(lengths, CPU), scale=0.1, dropout=0.25) for _ in range(400)])
    assert found.mean() == pytest.approx(1.0, abs=0.01)
    assert found.std() > 0.05
    uniform = attend(q * 0, k, v, Layout([57], CPU), scale=1.0, dropout=0.25)
    kept = uniform * 57 * 0.75  # equal probabilities: the number of keys that were kept
    assert torch.allclose(kept, kept.round(), atol=1e-9)
    assert kept.mean() == pytest.approx(57 * 0.75, rel=0.1)


def test_the_same_seed_drops_the_same() -> None:
    q, k, v = random_inputs(20)
    layout = Layout([12, 8], CPU)
    found = []
    for _ in range(2):
        torch.manual_seed(5)
        found.append(attend(q, k, v, layout, scale=0.5, dropout=0.5))
    assert torch.equal(*found)


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8))
def test_from_first_is_the_first_of_all(lengths: list[int]) -> None:
    q, k, v = random_inputs(sum(lengths))
    layout = Layout(lengths, CPU)
    every = attend(q, k, v, layout, scale=0.4, dropout=0.0)[layout.first_tokens]
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
