"""The topmost layers from scratch: what they learnt is about pretraining more than about language."""

from __future__ import annotations

from torch import nn

from ftcli.engine.layer_decay import depths
from ftcli.engine.regularizers.base import Ground, Regularizer, is_among
from ftcli.errors import UsageError
from ftcli.models.fresh import start_over


class ReinitLayers(Regularizer):
    """Re-initialisation of the top layers and the pooler (Zhang et al. 2021, "Revisiting Few-sample BERT Fine-tuning",
    arXiv:2006.05987), as the architecture initialises them."""

    scope = "task"
    from_pretrained = True

    def start_over(self, model: nn.Module) -> list[str]:
        """The names of the weights that start anew."""
        count = self.recipe.reinit_layers
        depth, top = depths(model, "regularize.reinit_layers")
        if count >= top:
            raise UsageError(
                f"regularize.reinit_layers is {count}, and the model has {top - 1} layers",
                hint="preset:NAME is an architecture from scratch",
            )
        self._names = [
            name
            for name, parameter in model.named_parameters()
            if top - count <= depth[id(parameter)] < top or "pooler" in name.split(".")
        ]
        start_over(model, self._names)
        return self._names

    def attach(self, ground: Ground) -> None:
        if sum(is_among(name, self._names) for name in ground.trained()) < len(self._names):
            raise UsageError(
                f"regularize.reinit_layers starts layers anew that {ground.adapts} then leaves untrained",
                hint="--method full, or leave it out",
            )
