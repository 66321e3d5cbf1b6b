"""What tasks share: how those with a head over a backbone make their model, and read one that was saved."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ftcli.contract import Column
from ftcli.contract_defaults import Undone
from ftcli.errors import UsageError
from ftcli.models.backbone import outside_backbone
from ftcli.models.fresh import start_over
from ftcli.models.load import Source, load_weights
from ftcli.models.transfer import carry_head
from ftcli.recipe.schema import Recipe


class BaseTask(Undone):
    """A task of a recipe, with a head that the transformers library knows."""

    name: str
    columns: tuple[Column, ...]
    auto_class: Any
    """The transformers class that builds the architecture with its head."""

    def __init__(self, recipe: Recipe | None = None) -> None:
        self.recipe = recipe or Recipe()

    @classmethod
    def suits(cls, config: Any) -> bool:
        """For ``--task auto``: whether an architecture, by its configuration, can learn the task."""
        return True

    def load_model(self, source: Source) -> nn.Module:
        """A model that already does this task, for evaluation and prediction."""
        self.adopt(source.config)
        model, fresh = load_weights(source, self.auto_class, source.config)
        if fresh:
            raise UsageError(
                f"{source.name} has no trained head for {self.name} (missing: {', '.join(fresh[:4])})",
                hint=f"train one first: ftcli finetune --model {source.name} --data D",
            )
        self.prepare(model)
        return model

    def prepare(self, model: nn.Module) -> None:
        """Learn from the model what its inputs are."""


def with_head(
    source: Source, auto_class: Any, labels: Sequence[str], problem: str | None, facts: Mapping[str, Any]
) -> tuple[nn.Module, list[str], str | None]:
    """The model with a head for `labels`, the parameters that start fresh, and what to say of a head it had.

    `problem` is what transformers calls the kind of answers (None where its models know but one); a head for another
    kind starts over. `facts` are the task's own, saved in the configuration as ``ftcli``.
    """
    config, before = source.config, copy.deepcopy(source.config)
    config.num_labels = len(labels)
    config.id2label = dict(enumerate(labels))
    config.label2id = {name: i for i, name in enumerate(labels)}
    if problem is not None:
        config.problem_type = problem
    config.ftcli = dict(facts)
    model, fresh = load_weights(source, auto_class, config)
    if source.from_scratch:
        return model, fresh, None
    known = getattr(before, "problem_type", None)
    if problem is not None and known not in (None, problem):
        head = outside_backbone(model)
        start_over(model, head)
        return model, sorted({*fresh, *head}), f"the model's head was for {known.replace('_', ' ')}: it starts fresh"
    carried = carry_head(source, auto_class, before, model, labels, fresh)
    return model, carried.fresh, carried.note


def saved_facts(config: Any) -> dict[str, Any]:
    """The ``ftcli`` entry of a model's configuration; empty for a model made elsewhere."""
    found = getattr(config, "ftcli", None)
    return dict(found) if isinstance(found, Mapping) else {}
