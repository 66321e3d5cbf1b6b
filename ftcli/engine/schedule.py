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
        "wsd": "ftcli.engine.schedule:wsd",
    },
)


def linear(progress: float, decay: float) -> float:
    """1 to 0 in a straight line; `progress` runs from 0 to 1 after the warm-up, `decay` is the recipe's share of it."""
    return 1.0 - progress


def cosine(progress: float, decay: float) -> float:
    """1 to 0 along half a cosine (Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def constant(progress: float, decay: float) -> float:
    """1 throughout."""
    return 1.0


def wsd(progress: float, decay: float) -> float:
    """1, and over the last `decay` to 0: warm-up, stable, decay (Hu et al. 2024, MiniCPM, arXiv:2404.06395).

    It falls as 1 - sqrt of the way, the best of the shapes in Haegele et al. 2024 (arXiv:2405.18392). Between
    warm-up and decay nothing depends on the length of the run.
    """
    return 1.0 - math.sqrt(min(1.0, max(0.0, progress - (1.0 - decay)) / decay))


def factor(recipe: ScheduleRecipe, total_steps: int) -> Callable[[int], float]:
    """What the peak learning rate is multiplied with at step 0, 1, ..., `total_steps` - 1.

    It rises over the warm-up, then goes from 1 to `recipe.floor` as the schedule of that name does.
    """
    shape = SCHEDULES.part(recipe.name)
    warmup = math.ceil(recipe.warmup * total_steps) if recipe.warmup < 1 else int(recipe.warmup)
    if recipe.warmup >= 1 and warmup >= total_steps:
        raise UsageError(
            f"schedule.warmup is {warmup} steps, but the run has only {total_steps}",
            hint="give a share under 1, e.g. --set schedule.warmup=0.06",
        )
    warmup = min(warmup, total_steps - 1)
    left = max(1, total_steps - warmup)
    decay = min(1.0, recipe.decay * total_steps / left)  # a share of what follows the warm-up

    def at(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        height = float(shape(min(1.0, (step - warmup) / left), decay))
        return recipe.floor + (1.0 - recipe.floor) * height

    return at
