"""The file of candidates that `ftcli predict` ranks for each query."""

from __future__ import annotations

from ftcli.contract_options import Offering
from ftcli.data.groups import CANDIDATE
from ftcli.data.records import records
from ftcli.errors import DataError, UsageError
from ftcli.recipe.schema import DataRecipe, Recipe
from ftcli.runs.trained import Trained


def offer_candidates(trained: Trained, recipe: Recipe) -> None:
    """Have the task rank what ``ranking.candidates`` names; nothing where it names nothing."""
    name = recipe.ranking.candidates
    if name is None:
        return
    task = trained.task
    if not isinstance(task, Offering):
        raise UsageError(f"{task.name} ranks no candidates", hint="leave out --candidates, or name a run of ranking")
    found = []
    for record in records(name, DataRecipe(), (CANDIDATE,)):
        if record.row is None:
            raise DataError(f"{name}, line {record.line}: {record.error}")
        text = record.row["candidate"]
        found.append((text, {k: v for k, v in record.values.items() if v != text}))
    if not found:
        raise DataError(f"{name}: no candidates")
    task.offer(found)
