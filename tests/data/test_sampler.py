"""Batch-size warm-up: the same rows in smaller steps, growing, the same at any epoch without replay."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcli.data.sampler import SMALLEST, Sampler, grown

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=300)


def make(lengths: list[int], size: int, by_tokens: bool, warmup: int, seed: int = 3) -> Sampler:
    sampler = Sampler(lengths, size, seed, tokens_per_step=40 * size if by_tokens else None)
    if warmup:
        sampler.warm_up(warmup)
    return sampler


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, size=st.integers(1, 20), by_tokens=st.booleans(), warmup=st.integers(1, 80))
def test_every_row_once_in_steps_of_the_size_they_should_have(
    lengths: list[int], size: int, by_tokens: bool, warmup: int
) -> None:
    sampler = make(lengths, size, by_tokens, warmup)
    whole = 40 * size if by_tokens else size
    amount = (lambda step: sum(lengths[i] for i in step)) if by_tokens else len
    number = 0
    for epoch in range(4):
        plan = sampler.plan(epoch)
        assert sampler.start(epoch) == number
        assert sampler.steps(epoch) == len(plan)
        assert sorted(int(i) for step in plan for i in step) == list(range(len(lengths)))
        for position, step in enumerate(plan):
            room = whole * grown(number, warmup)
            assert amount(step) <= room + 1e-6 or len(step) == 1
            if number < warmup and position + 1 < len(plan):
                assert amount(step) + amount(plan[position + 1][:1]) > room, "it is as full as it can be"
            number += 1


@settings(max_examples=30, deadline=None)
@given(lengths=LENGTHS, size=st.integers(1, 20), by_tokens=st.booleans(), warmup=st.integers(1, 80))
def test_any_epoch_without_replay(lengths: list[int], size: int, by_tokens: bool, warmup: int) -> None:
    """An epoch asked for first is the one that comes after the others; after the warm-up it is the plan without one."""
    in_order = make(lengths, size, by_tokens, warmup)
    plans = [in_order.plan(epoch) for epoch in range(6)]
    for epoch in (5, 2):
        alone = make(lengths, size, by_tokens, warmup)
        assert [step.tolist() for step in alone.plan(epoch)] == [step.tolist() for step in plans[epoch]]
        assert alone.start(epoch) == sum(len(plan) for plan in plans[:epoch])
    plain = make(lengths, size, by_tokens, 0)
    for epoch in range(6):
        same = [a.tolist() for a in plain.plan(epoch)] == [a.tolist() for a in plans[epoch]]
        assert same or in_order.start(epoch) < warmup


def test_sizes_grow_in_a_straight_line() -> None:
    sampler = make([10] * 2000, 32, False, 50)
    sizes = [len(step) for step in sampler.plan(0)]
    assert sizes[0] == 4
    assert all(a <= b <= a + 1 for a, b in pairwise(sizes[:50]))
    assert sizes[49] == 31
    assert sizes[51:] == [32] * len(sizes[51:])
    assert sum(sizes[:50]) == pytest.approx(50 * 32 * (1 + SMALLEST) / 2, rel=0.05)


def test_after_the_warm_up_rows_of_like_length_stay_together() -> None:
    lengths = np.random.default_rng(0).integers(5, 500, 3000).tolist()
    plan, plain = make(lengths, 16, False, 20).plan(0), make(lengths, 16, False, 0).plan(0)
    assert [s.tolist() for s in plan[22:]] == [s.tolist() for s in plain[-len(plan[22:]) :]]
    assert len(plan[22:]) > 150
