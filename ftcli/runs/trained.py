"""A model that already does a task, opened for evaluation and prediction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from ftcli.contract import Task
from ftcli.engine.precision import Precision, pick_device, pick_precision
from ftcli.engine.seeding import seed_everything
from ftcli.errors import UsageError
from ftcli.models.load import Source, open_source
from ftcli.recipe.load import build, read_recipe
from ftcli.recipe.schema import Recipe
from ftcli.runs.parts import task_class

INHERITED = ("task", "data.", "train.max_length", "eval.")
"""Settings of the training run that its evaluation and prediction start from."""


@dataclass(frozen=True)
class Trained:
    """A task, its model and where it runs."""

    recipe: Recipe
    source: Source
    task: Task
    model: nn.Module
    precision: Precision


def inherited(model: str, given: dict[str, Any]) -> Recipe:
    """The recipe of a command on `model`: the run's own settings where it is a run folder, below what is given.

    Another data set than the run's brings none of the run's settings of columns and files along.
    """
    values: dict[str, tuple[Any, str]] = {}
    file = Path(model).expanduser() / "recipe.yaml"
    if file.is_file():
        own = read_recipe(file)
        other_data = given.get("data.name") not in (None, own.get("data.name"))
        for path, value in own.items():
            if path == "data.limit" or (other_data and path.startswith("data.")):
                continue
            if path.startswith(INHERITED):
                values[path] = (value, str(file))
    values.update({path: (value, "") for path, value in given.items() if value is not None})
    values["model.name"] = (model, "")
    return build(values)


def open_trained(recipe: Recipe) -> Trained:
    """The model of ``recipe.model`` with its own labels; UsageError where it has no trained head."""
    device = pick_device(recipe.train.device)
    precision = pick_precision(recipe.train.precision, device)
    seed_everything(recipe.seed, deterministic=recipe.train.deterministic)
    source = open_source(recipe.model)
    if source.tokenizer is None:
        raise UsageError(f"{source.name} is an architecture without weights", hint="name a trained run or model")
    task: Task = task_class(recipe)(source.tokenizer, source.max_length(recipe.train.max_length))
    model = task.load_model(source)
    model.to(device)
    return Trained(replace(recipe, task=task.name), source, task, model, precision)
