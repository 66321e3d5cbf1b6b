"""`--task auto`: the task that the columns of the data, and what is in them, show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ftcli.contract import Claim
from ftcli.data.columns import meant_by, role_called, roles_named
from ftcli.data.looks import Sample
from ftcli.data.read import sample
from ftcli.data.reader import Options
from ftcli.data.sources import Source as DataSource
from ftcli.data.sources import open_source
from ftcli.data.split import match
from ftcli.errors import UsageError
from ftcli.models.load import Source
from ftcli.recipe.schema import DataRecipe, Recipe
from ftcli.runs.modality import modality
from ftcli.tasks import TASKS
from ftcli.trackers.console import Console


def recognised(recipe: Recipe, source: Source, console: Console) -> Recipe:
    """The recipe with its task: the one given, else that whose claim on the data is the strongest, and said.

    UsageError, naming the candidates, where several tasks have equal claims. Where none has any, the task that a model
    of its kind is mostly used for: its own messages say what is missing.
    """
    if recipe.task != "auto" or recipe.objective is not None:
        return recipe
    candidates = fitting(source, recipe.data)
    if len(candidates) <= 1:
        return replace(recipe, task=next(iter(candidates), by_modality(source)))
    claims = claims_on(recipe.data, candidates)
    strongest = max((claim.strength for claim in claims.values()), default=0)
    best = {name: claim for name, claim in claims.items() if claim.strength == strongest}
    if len(best) > 1:
        listed = "; ".join(f"{name}, since {claim.why}" for name, claim in best.items())
        raise UsageError(
            f"{recipe.data.name} could be for several tasks: {listed}", hint=" or ".join(f"--task {n}" for n in best)
        )
    if not best:
        return replace(recipe, task=by_modality(source))
    [(name, claim)] = best.items()
    if name != by_modality(source):
        console.note(f"task {name}, since {claim.why} (--task says otherwise)")
    return replace(recipe, task=name)


def by_modality(source: Source) -> str:
    """What a model that takes images, sounds or texts is mostly fine-tuned for."""
    return _USUAL[source.takes]


_USUAL = {"text": "text-classification", "image": "image-classification", "audio": "audio-classification"}


def fitting(source: Source, recipe: DataRecipe) -> dict[str, Any]:
    """Name -> class of the tasks that the model takes the inputs of, and that have the roles which the recipe names."""
    roles = set(roles_named(recipe))
    kinds = {name: TASKS.part(name) for name in TASKS}
    suited = {n: k for n, k in kinds.items() if modality(k.columns) == source.takes and k.suits(source.config)}
    named = {n: k for n, k in suited.items() if roles <= {column.role for column in k.columns}}
    # "text" and "label" mean something of every task, but first of all of those that call it so.
    return named or {n: k for n, k in suited.items() if all(role_called(role, k.columns) for role in roles)}


def claims_on(recipe: DataRecipe, candidates: dict[str, Any]) -> dict[str, Claim]:
    """What each task says of the first rows of the training split."""
    opened = open_source(recipe)
    readers = opened.splits[_split(opened, recipe)](_options(recipe))
    table = Sample(readers[0], sample(readers[:1]))
    claims = {name: kind.recognise(_as_named(table, recipe, kind)) for name, kind in candidates.items()}
    return {name: claim for name, claim in claims.items() if claim is not None}


def _split(source: DataSource, recipe: DataRecipe) -> str:
    return match(recipe.train_split, source.splits) or next(iter(source.splits))


def _options(recipe: DataRecipe) -> Options:
    positions = [int(name) for name in roles_named(recipe).values() if name.isdecimal()]
    return Options(recipe.encoding, recipe.delimiter, max(positions, default=-1) + 1)


def _as_named(table: Sample, recipe: DataRecipe, kind: Any) -> Sample:
    """The table with columns under the roles that the recipe gives them."""
    renamed = {name: role_called(role, kind.columns) or role for role, name in roles_named(recipe).items()}
    for flag, given in (("text", recipe.text_column), ("label", recipe.label_column)):
        role = next((column.role for column in kind.columns if meant_by(flag, column)), None)
        if given is not None and role is not None:
            renamed[given] = role
    return table.renamed(renamed) if renamed else table
