"""The task as a recipe's `regularize` section has it trained."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ftcli.contract import Data, Learner, Task
from ftcli.engine.regularized import Regularized
from ftcli.errors import UsageError, did_you_mean
from ftcli.recipe.schema import Recipe, RegularizeRecipe


def learner(task: Task, data: Data, recipe: Recipe) -> Learner:
    """The task itself, or with the loss that the recipe asks for; UsageError where it has no such loss."""
    wanted = recipe.regularize
    asked = [name for name in ("label_smoothing", "focal", "class_weights", "r_drop") if getattr(wanted, name)]
    if not asked:
        return task
    if not hasattr(task, "label_counts"):
        raise UsageError(f"regularize.{asked[0]} is for classification, and {task.name} is none", hint="leave it out")
    return Regularized(task, wanted, class_weights(task, data, wanted))


def class_weights(task: Any, data: Data, recipe: RegularizeRecipe) -> Tensor | None:
    """(classes,) fp32, of mean 1 over the training rows; None where every class counts the same."""
    if recipe.class_weights is None:
        return None
    rows = task.label_counts(data.splits["train"])
    if recipe.class_weights.strip() == "balanced":
        weights = [1 / count if count else 0.0 for count in rows]
    else:
        given = dict(_weight(part, task.labels) for part in recipe.class_weights.split(","))
        weights = [given.get(name, 1.0) for name in task.labels]
    mean = sum(weight * count for weight, count in zip(weights, rows, strict=True)) / sum(rows)
    if not mean > 0:
        raise UsageError(
            "regularize.class_weights leaves no training row any weight", hint="--set regularize.class_weights=balanced"
        )
    return torch.tensor([weight / mean for weight in weights])


def _weight(part: str, labels: list[str]) -> tuple[str, float]:
    name, equals, text = part.rpartition("=")
    name = name.strip()
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not equals or not (math.isfinite(weight) and weight >= 0):
        raise UsageError(
            f"regularize.class_weights has '{part.strip()}'; expected balanced, or name=weight,... (weights from 0)",
            hint=f"--set 'regularize.class_weights={labels[0]}=2'",
        )
    if name not in labels:
        raise UsageError(
            f"regularize.class_weights names '{name}', which is no label of the data", hint=did_you_mean(name, labels)
        )
    return name, weight
