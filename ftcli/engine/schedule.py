"""Learning-rate schedules as pure functions of the step, so that resuming needs no state."""

from __future__ import annotations

import math
from collections.abc import Callable

from ftcli.errors import UsageError
from ftcli.recipe.schema import ScheduleRecipe
from ftcli.registry import Table

SCHEDULES = Table(
    "schedule",
    {
        "linear": "ftcli.engine.schedule:linear",
        "cosine": "ftcli.engine.schedule:cosine",
        "constant": "ftcli.engine.schedule:constant",
    },
)


def linear(progress: float) -> float:
    """1 to 0 in a straight line; `progress` runs from 0 to 1 after the warm-up."""
    return 1.0 - progress


def cosine(progress: float) -> float:
    """1 to 0 along half a cosine (Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def constant(progress: float) -> float:
    """1 throughout."""
    return 1.0


def factor(recipe: ScheduleRecipe, total_steps: int) -> Callable[[int], float]:
    """What the peak learning rate is multiplied with at step 0, 1, ..., `total_steps` - 1."""
    shape = SCHEDULES.part(recipe.name)
    warmup = math.ceil(recipe.warmup * total_steps) if recipe.warmup < 1 else int(recipe.warmup)
    if recipe.warmup >= 1 and warmup >= total_steps:
        raise UsageError(
            f"schedule.warmup is {warmup} steps, but the run has only {total_steps}",
            hint="give a share under 1, e.g. --set schedule.warmup=0.06",
        )
    warmup = min(warmup, total_steps - 1)

    def at(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return float(shape(min(1.0, (step - warmup) / max(1, total_steps - warmup))))

    return at
