"""What can be said of a distillation before anything is read: what is missing in its recipe, what cannot be learnt."""

from __future__ import annotations

import dataclasses
from typing import Any

from ftcli.data.changed import read_ways
from ftcli.distillable import SoftForm
from ftcli.distillation.terms import INSIDE, Terms
from ftcli.errors import UsageError
from ftcli.models.load import Source
from ftcli.recipe.load import replace
from ftcli.recipe.regularize import RegularizeRecipe
from ftcli.recipe.schema import Recipe
from ftcli.runs.students import is_cut
from ftcli.runs.teachers import SELF, Teacher, teacher_names
from ftcli.tasks import TASKS

_GOES_WITH = ("dropout", "token_dropout", "label_smoothing", "focal", "class_weights")
"""Settings of `regularize` that a distilled student takes."""
_NOT_SO = {"ranking": ("a bi-encoder", "--set ranking.kind=cross")}
"""Task -> what it is where it cannot be learnt from a teacher though others of its kind can, and what to do."""


def settled(recipe: Recipe) -> Recipe:
    """The recipe with the student's name filled in; UsageError where teacher or student is missing."""
    if not recipe.teacher.name:
        raise UsageError("no teacher given", hint="--teacher RUN (see ftcli finetune), a model folder or a Hub name")
    named = [name for name, _ in teacher_names(recipe.teacher.name)]
    if recipe.model.name is None:
        ladder = recipe.distill.until is not None and recipe.student.ladder
        if named[0] == SELF or not (is_cut(recipe.student) or ladder):
            raise UsageError(
                "no student given",
                hint="--student M, or --set student.layers=3 for one made of the teacher's layers",
            )
        recipe = replace(recipe, model__name=named[0])
    if recipe.objective is not None:
        from ftcli.runs.general import check_recipe

        check_recipe(recipe)
    if recipe.train.compile is True and any(getattr(recipe.distill, name) for name in INSIDE):
        raise UsageError(
            "train.compile does not go with terms of distill.* that look into the models",
            hint="--set train.compile=false",
        )
    for item in dataclasses.fields(RegularizeRecipe):
        if item.name not in _GOES_WITH and getattr(recipe.regularize, item.name) != item.default:
            raise UsageError(
                f"regularize.{item.name} does not go with distillation", hint=f"those that do: {', '.join(_GOES_WITH)}"
            )
    read_ways(recipe.distill.augment_how)
    return recipe


def check_task(kind: Any, recipe: Recipe, source: Source, teachers: int, *, inside: bool) -> None:
    """UsageError, naming it, for a task that cannot be learnt from teachers as the recipe has it."""
    if not hasattr(kind, "soft"):
        can = ", ".join(name for name in TASKS if hasattr(TASKS.part(name), "soft"))
        raise UsageError(
            f"{kind.name} cannot be distilled yet; {can} can, and language models (--objective)",
            hint="ftcli finetune --set student.layers=N makes a small model without a teacher",
        )
    if recipe.distill.sequences and kind.name != "seq2seq":
        raise UsageError(
            f"distill.sequences: {kind.name} is not learnt from what a teacher writes; seq2seq and language models are",
            hint="--task seq2seq, or --objective clm",
        )
    if teachers > 1 and not hasattr(kind, "outputs_of"):
        raise UsageError(f"{kind.name} is learnt from one teacher", hint="name one of them")
    if inside and source.takes == "audio":
        raise UsageError(
            f"{source.name} takes sounds, whose states are not compared", hint="distill.soft and distill.labels alone"
        )


def check_form(task: Any) -> None:
    """UsageError for a task whose kind can be learnt from teachers, but not as it is set up."""
    if task.soft_form is None:
        what, hint = _NOT_SO[task.name]
        raise UsageError(f"{task.name} by {what} cannot be distilled yet", hint=hint)


def check_tokens_told(form: SoftForm, terms: Terms, teacher: Teacher | None) -> None:
    """UsageError where a teacher's answers are about tokens and the student's tokens are others."""
    if form.of_tokens and "soft" in terms.weights and teacher is not None and not terms.same_tokens:
        raise UsageError(
            f"{teacher.trained.task.name} is learnt token by token, and the student's tokens are not those of "
            f"{teacher.name}",
            hint="--set student.layers=N makes a student of the teacher's own layers",
        )
