"""A classification as it is trained under `regularize.*`: what is scored and predicted stays the task's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ftcli.contract import Batch, Example, Learner, Outputs
from ftcli.losses.regularize import regularized_cross_entropy, symmetric_kl
from ftcli.recipe.schema import RegularizeRecipe


class Regularized:
    """`task` with another loss; with R-Drop every batch goes through the model twice, under different dropout."""

    def __init__(self, task: Learner, recipe: RegularizeRecipe, weights: Tensor | None) -> None:
        self.task, self.recipe, self.weights = task, recipe, weights

    def collate(self, examples: Sequence[Example]) -> Batch:
        return self.task.collate(examples)

    def counts(self, batch: Batch) -> dict[str, int]:
        """Rows, for each of the terms."""
        rows = len(batch["labels"])
        return {"loss": rows, "r_drop": rows} if self.recipe.r_drop else {"loss": rows}

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """Logits of one pass, or of two."""
        return [self.task.forward(model, batch) for _ in range(2 if self.recipe.r_drop else 1)]

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """The mean cross-entropy of the passes, and how far they disagree."""
        recipe, labels = self.recipe, batch["labels"]
        settings: dict[str, Any] = {
            "smoothing": recipe.label_smoothing,
            "focal": recipe.focal,
            "weights": None if self.weights is None else self.weights.to(labels.device),
        }
        sums = [regularized_cross_entropy(logits, labels, **settings) for logits in outputs]
        found = {"loss": sum(sums[1:], sums[0]) / len(sums)}
        if recipe.r_drop:
            found["r_drop"] = recipe.r_drop * symmetric_kl(*outputs)
        return found
