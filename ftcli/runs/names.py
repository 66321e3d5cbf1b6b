"""Names of parts in a recipe, checked before anything is loaded."""

from __future__ import annotations

from ftcli.engine.optim import OPTIMIZERS
from ftcli.engine.schedule import SCHEDULES
from ftcli.errors import UsageError
from ftcli.models.methods import METHODS
from ftcli.objectives import OBJECTIVES
from ftcli.recipe.schema import Recipe
from ftcli.tasks import TASKS
from ftcli.trackers import TRACKERS


def check_names(recipe: Recipe) -> None:
    """UsageError for a name in the recipe that nothing is known by; costs nothing."""
    if recipe.train.tokens_per_batch is not None and recipe.train.batch_size == "auto":
        raise UsageError(
            "train.batch_size auto counts rows, train.tokens_per_batch tokens; one of the two",
            hint="leave out --batch-size auto",
        )
    OPTIMIZERS.check(recipe.optimizer.name)
    SCHEDULES.check(recipe.schedule.name)
    METHODS.check(recipe.method.name)
    for name in filter(None, map(str.strip, recipe.log.trackers.split(","))):
        TRACKERS.check(name)
    if recipe.objective is not None:
        OBJECTIVES.check(recipe.objective)
    elif recipe.task != "auto":
        TASKS.check(recipe.task)
