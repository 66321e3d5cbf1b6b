"""The head alone (a linear probe of what the model knows already), or first of all."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from ftcli.models.methods.base import Method, Selected


class Head(Selected):
    """The task head and the pooler; the backbone stays as it is."""

    needs_head = True

    def selected(self, model: nn.Module) -> Collection[str]:
        """Nothing beside the head."""
        return ()


class HeadThenFull(Method):
    """The head first, then everything, so that a random head does not distort what was learnt.

    Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution"
    (arXiv:2202.10054). `method.head_share` of the steps are the head's.
    """

    needs_head = True

    def adapt(self, model: nn.Module, fresh: Collection[str]) -> nn.Module:
        """The model with all of its weights to be trained; `before_step` freezes them for a while."""
        self._first = Head(self.recipe)
        self._fresh = tuple(fresh)
        self._frozen = False
        self._whole = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return model

    def before_step(self, step: int) -> None:
        """Freeze the backbone, or free it, where the step calls for it."""
        frozen = step < self.recipe.head_share * self.total
        if frozen == self._frozen:
            return
        if frozen:
            self._first.adapt(self.model, self._fresh)
        else:
            for parameter in self._whole:
                parameter.requires_grad_(True)
        self._frozen = frozen
