"""What every method of adaptation answers; the base itself trains every weight."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ftcli.models.backbone import outside_backbone
from ftcli.recipe.method import MethodRecipe


class Method:
    """Which weights of a model are trained, and when. This one: all of them, always (full fine-tuning)."""

    lr_scale = 1.0
    """Peak learning rate, where the recipe leaves it open, in multiples of that of full fine-tuning: a few weights
    have to go further than many."""
    keeps_base = False
    """True where what is saved is what was learnt beside a base model, and not the base model itself."""
    reserved = 0
    """Positions of the model that the method takes for itself."""
    needs_head = False
    """True where the method has nothing to train in a model without a head."""
    mergeable = False
    """True where what was learnt beside the base can be put into its weights."""

    def __init__(self, recipe: MethodRecipe) -> None:
        self.recipe = recipe

    def adapt(self, model: nn.Module, fresh: Collection[str]) -> nn.Module:
        """The model to train, its frozen weights marked so (`requires_grad`). `fresh` names weights that start
        untrained, which every method trains."""
        return model

    def begin(self, model: nn.Module, total: int) -> None:
        """Training of `total` steps is about to begin, or to go on; then the loop calls what is below at each."""
        self.model, self.total = model, total

    def before_step(self, step: int) -> None:
        """`step`, from 0, is about to be computed; after a checkpoint is loaded it may be any."""

    def penalty(self) -> Tensor | None:
        """A scalar to be added to the loss of the step, once."""
        return None

    def after_step(self, step: int) -> None:
        """The weights are updated; the gradients are still there."""

    def settled(self, step: int) -> bool:
        """Whether the model after `step` steps is of the kind that the method ends with, and may be kept as best."""
        return True

    def save(self, model: Any, folder: Path, base: Mapping[str, Any]) -> None:
        """Write the model's weights and configuration into `folder`; `base` says what the run started from."""
        model.save_pretrained(folder)

    def merged(self, model: nn.Module) -> nn.Module:
        """One model, with what was learnt in its weights; `model` is of no use then."""
        raise NotImplementedError

    def outcome(self, model: nn.Module) -> str | None:
        """What the method came to, in words, once the best state is in the model."""
        return None


class Selected(Method):
    """A method that trains some of the model's own weights, and the head; subclasses say which."""

    lr_scale = 10.0

    def adapt(self, model: nn.Module, fresh: Collection[str]) -> nn.Module:
        """All weights frozen but for the head's, the fresh ones and those of `selected`."""
        trained = {*head_names(model), *fresh, *self.selected(model)}
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and name in trained)  # what the model fixes stays so
        return model

    def selected(self, model: nn.Module) -> Collection[str]:
        """Names of parameters to train beside the head's."""
        raise NotImplementedError


def head_names(model: nn.Module) -> list[str]:
    """Parameters that belong to the task more than to the language: outside the backbone, or of its pooler."""
    outside = set(outside_backbone(model))
    return [name for name, _ in model.named_parameters() if name in outside or "pooler" in name.split(".")]
