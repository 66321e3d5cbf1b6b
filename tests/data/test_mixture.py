"""Mixed sampling: exact shares of tokens, every row before any row twice, and plans that depend on nothing else."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcli.data.mixture import MixedSampler
from ftcli.data.sampler import Sampler
from ftcli.errors import DataError


@st.composite
def samplers(draw: st.DrawFn) -> MixedSampler:
    sources = draw(st.integers(1, 4))
    groups = list(range(sources)) + draw(st.lists(st.integers(0, sources - 1), max_size=60))
    groups = draw(st.permutations(groups))
    lengths = [draw(st.integers(1, 30)) for _ in groups]
    weights = [draw(st.floats(0.05, 1)) for _ in range(sources)]
    tokens = draw(st.none() | st.integers(1, 90))
    return MixedSampler(lengths, groups, weights, draw(st.integers(1, 9)), draw(st.integers(0, 99)), tokens)


def of_group(sampler: MixedSampler, epoch: int, group: int) -> list[int]:
    own = set(sampler._rows[group].tolist())
    return [int(row) for step in sampler.plan(epoch) for row in step if int(row) in own]


@given(samplers(), st.integers(0, 5))
def test_each_source_has_its_share_of_an_epochs_tokens(sampler: MixedSampler, epoch: int) -> None:
    assert sum(sampler.quotas) == int(sampler.lengths.sum())
    for group, quota in enumerate(sampler.quotas):
        longest = int(sampler.lengths[sampler._rows[group]].max())
        tokens = int(sampler.lengths[of_group(sampler, epoch, group)].sum())
        assert abs(tokens - quota) < longest
        so_far = sum(int(sampler.lengths[of_group(sampler, e, group)].sum()) for e in range(epoch + 1))
        assert 0 <= so_far - quota * (epoch + 1) < longest


@given(samplers())
def test_every_row_is_seen_before_any_is_seen_again(sampler: MixedSampler) -> None:
    for group, rows in enumerate(sampler._rows):
        seen: Counter[int] = Counter({int(row): 0 for row in rows})
        for epoch in range(6):
            seen.update(of_group(sampler, epoch, group))
            assert max(seen.values()) - min(seen.values()) <= 1


@given(samplers(), st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_a_plan_depends_on_nothing_asked_before(sampler: MixedSampler, epochs: list[int]) -> None:
    for epoch in epochs:
        plan = sampler.plan(epoch)
        fresh = MixedSampler(
            sampler.lengths.tolist(),
            [next(g for g, rows in enumerate(sampler._rows) if row in rows) for row in range(len(sampler.lengths))],
            sampler.quotas,
            sampler.rows_per_step,
            sampler.seed,
            sampler.tokens_per_step,
        )
        assert [step.tolist() for step in plan] == [step.tolist() for step in fresh.plan(epoch)]
        assert sampler.steps(epoch) == len(plan)


@given(samplers(), st.integers(0, 3))
def test_steps_hold_what_they_may(sampler: MixedSampler, epoch: int) -> None:
    plan = sampler.plan(epoch)
    assert all(len(step) for step in plan)
    if sampler.tokens_per_step is None:
        assert sum(len(step) < sampler.rows_per_step for step in plan) <= 1
        assert max(map(len, plan), default=0) <= sampler.rows_per_step
    else:
        assert all(len(s) == 1 or int(sampler.lengths[s].sum()) <= sampler.tokens_per_step for s in plan)


def test_natural_weights_give_every_row_once_an_epoch() -> None:
    lengths = np.random.default_rng(0).integers(1, 40, 300)
    groups = np.arange(300) % 3
    weights = [int(lengths[groups == g].sum()) for g in range(3)]
    sampler = MixedSampler(lengths.tolist(), groups.tolist(), weights, 8, 1)
    for epoch in range(3):
        assert sorted(np.concatenate(sampler.plan(epoch)).tolist()) == list(range(300))
    assert sampler.steps(0) == Sampler(lengths.tolist(), 8, 1).steps(0)
    assert [s.tolist() for s in sampler.plan(0)] != [s.tolist() for s in sampler.plan(1)]
    other = MixedSampler(lengths.tolist(), groups.tolist(), weights, 8, 2)
    assert [s.tolist() for s in sampler.plan(0)] != [s.tolist() for s in other.plan(0)]


def test_proportions_hold_all_along_an_epoch() -> None:
    """10,000 rows of 10 tokens, a tenth of them of a source that is to have half."""
    groups = [int(n % 10 == 0) for n in range(10_000)]
    plan = MixedSampler([10] * 10_000, groups, [1, 1], 10, 5).plan(0)
    assert len(plan) == 1000
    for start in range(0, 1000, 50):
        rows = np.concatenate(plan[start : start + 50])
        assert np.isin(rows % 10, 0).sum() == 250


def test_a_source_without_rows() -> None:
    with pytest.raises(DataError, match="source 2 of 2"):
        MixedSampler([3, 4], [0, 0], [1, 1], 2, 0)
