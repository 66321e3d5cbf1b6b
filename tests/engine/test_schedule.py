"""Schedules: between 0 and 1, up in the warm-up and never up again, without jumps, down to the floor."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcli.engine.schedule import SCHEDULES, factor
from ftcli.recipe.schema import ScheduleRecipe

RECIPES = st.builds(
    ScheduleRecipe,
    name=st.sampled_from(sorted(SCHEDULES)),
    warmup=st.floats(0, 0.99),
    decay=st.floats(0.01, 1),
    floor=st.floats(0, 1),
)


@given(recipe=RECIPES, total=st.integers(1, 400))
def test_up_over_the_warm_up_and_never_up_again(recipe: ScheduleRecipe, total: int) -> None:
    at = factor(recipe, total)
    values = [at(step) for step in range(total)]
    assert all(0 <= value <= 1 for value in values)
    warmup = min(math.ceil(recipe.warmup * total), total - 1)
    rise, rest = values[: warmup + 1], values[warmup:]
    assert all(a < b for a, b in pairwise(rise))
    assert rest[0] == pytest.approx(1.0)
    assert all(a >= b - 1e-12 for a, b in pairwise(rest))
    assert min(rest) >= recipe.floor - 1e-12


@given(recipe=RECIPES, total=st.integers(2, 300))
def test_more_steps_are_smaller_steps(recipe: ScheduleRecipe, total: int) -> None:
    """No jumps: a step of the learning rate shrinks as the run grows (as a root where the decay of wsd begins)."""
    many = 64 * total
    at = factor(recipe, many)
    values = [at(step) for step in range(many)]
    steepest = max(abs(a - b) for a, b in pairwise(values))
    after = many - min(math.ceil(recipe.warmup * many), many - 1)
    span = min(after, recipe.decay * many) if recipe.name == "wsd" else after
    rise = 1 / (many - after + 1)
    fall = math.sqrt(1 / max(1.0, span)) if recipe.name == "wsd" else 2 / after
    assert steepest <= max(rise, fall) + 1e-9


@given(decay=st.floats(0.05, 0.9), share=st.floats(0, 0.05), total=st.integers(100, 1000), floor=st.floats(0, 0.5))
def test_wsd_is_stable_until_its_decay(decay: float, share: float, total: int, floor: float) -> None:
    at = factor(ScheduleRecipe(name="wsd", warmup=share, decay=decay, floor=floor), total)
    warmup = math.ceil(share * total)
    stable = [at(step) for step in range(warmup, math.floor((1 - decay) * total) + 1)]
    assert stable
    assert stable == pytest.approx([1.0] * len(stable), abs=1e-6)
    falling = [at(step) for step in range(math.floor((1 - decay) * total) + 1, total)]
    assert all(a > b for a, b in pairwise(falling))
    assert at(total) == pytest.approx(floor), "where it would be with one more step"


def test_wsd_by_hand() -> None:
    at = factor(ScheduleRecipe(name="wsd", warmup=0.0, decay=0.25), 400)
    assert [at(step) for step in (0, 299, 300)] == [1.0] * 3
    assert [at(step) for step in (325, 364, 400)] == pytest.approx([0.5, 0.2, 0.0])


@pytest.mark.parametrize("name", ["linear", "cosine", "wsd"])
def test_the_floor_is_where_it_ends(name: str) -> None:
    at = factor(ScheduleRecipe(name=name, warmup=0.1, floor=0.1), 1000)
    assert at(1000) == pytest.approx(0.1)
    assert 0.1 < at(999) < 0.11
    assert factor(ScheduleRecipe(name="constant", warmup=0.0, floor=0.1), 9)(8) == 1.0
