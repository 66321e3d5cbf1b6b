"""The task as a recipe's `regularize` section has it trained, and what cannot be trained so."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ftcli.contract import Data, Learner, Task
from ftcli.contract_options import Counting
from ftcli.distillation.terms import MEETING
from ftcli.engine.regularized import Regularized
from ftcli.engine.regularizers import REGULARIZERS
from ftcli.engine.regularizers.base import Regularizer
from ftcli.engine.regularizers.embeddings import Embeddings
from ftcli.engine.regularizers.stack import Stack
from ftcli.errors import UsageError, did_you_mean
from ftcli.models.load import Source
from ftcli.recipe.regularize import RegularizeRecipe
from ftcli.recipe.schema import Recipe


def regularizers(task: Task, source: Source, recipe: Recipe) -> Stack:
    """Those the recipe asks for; UsageError, by name, for one that does not go with the rest."""
    asked = [name for name in REGULARIZERS if getattr(recipe.regularize, name)]
    parts: dict[str, Regularizer] = {name: REGULARIZERS.part(name)(recipe.regularize) for name in asked}
    images, leave_out = source.images is not None, "leave it out"
    for name, part in parts.items():
        key = f"regularize.{name}"
        if part.scope == "classification" and not isinstance(task, Counting):
            raise UsageError(f"{key} is for classification, and {task.name} is none", hint=leave_out)
        if part.scope != "any" and recipe.objective is not None:
            raise UsageError(f"{key} is for tasks, and {task.name} is an objective of pretraining", hint=leave_out)
        if part.inputs == "images" and not images:
            takes = "sounds" if source.takes == "audio" else "texts"
            hint = leave_out if source.takes == "audio" else "--set regularize.mixup=0.2"
            raise UsageError(f"{key} is for images, and {source.name} takes {takes}", hint=hint)
        if source.takes == "audio" and part.embeds(images=False):
            hint = "--set regularize.mixup_at=hidden" if name == "mixup" else leave_out
            raise UsageError(f"{key} changes word embeddings or pixels, and {source.name} takes sounds", hint=hint)
        if part.from_pretrained and source.from_scratch:
            raise UsageError(f"{key} goes by pretrained weights, and {source.name} has none", hint=leave_out)
        if recipe.train.compile is True and (part.embeds(images=images) or not part.compiles):
            raise UsageError(f"{key} does not go with a compiled model", hint="--set train.compile=false")
        if recipe.method.name in part.methods_refused:
            raise UsageError(f"{key} does not go with method {recipe.method.name}", hint=leave_out)
        other = next((other for other in part.apart_from if other in parts), None)
        if other is not None:
            raise UsageError(f"{key} and regularize.{other} do not go together", hint="leave one of them out")
    return Stack(parts)


def learner(task: Task, data: Data, recipe: Recipe, stack: Stack, model: nn.Module, *, images: bool) -> Learner:
    """The task itself, or with what the regularisers make of its batches and losses."""
    if not stack.parts:
        return task
    embeds = any(part.embeds(images=images) for part in stack.parts.values())
    return Regularized(
        task,
        stack,
        recipe.regularize,
        Embeddings(model) if embeds else None,
        len(getattr(task, "labels", ())),
        class_weights(task, data, recipe.regularize) if isinstance(task, Counting) else None,
    )


def rows_meet(task: Task, recipe: Recipe) -> bool:
    """True where the loss of a row depends on the rows that are in the same forward pass: fewer are another loss."""
    return task.rows_meet or any(getattr(recipe.distill, name) for name in MEETING)


def class_weights(task: Counting, data: Data, recipe: RegularizeRecipe) -> Tensor | None:
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
