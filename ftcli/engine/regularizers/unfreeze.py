"""Layers that are trained one after the other, from the top down."""

from __future__ import annotations

from torch import nn

from ftcli.engine.regularizers.base import Ground, Regularizer


class Unfreeze(Regularizer):
    """Gradual unfreezing (Howard & Ruder 2018, "ULMFiT", arXiv:1801.06146): the head first, then one more layer at a
    time, the embeddings last. The paper frees a layer after each epoch; here `regularize.unfreeze` is the share of all
    steps after which everything is trained. AdaLoRA, which deals out ranks meanwhile, needs them all."""

    from_pretrained = True
    methods_refused = ("adalora",)

    def attach(self, ground: Ground) -> None:
        depth, self._top = ground.layers("regularize.unfreeze")
        self._depths = [(p, depth[id(p)]) for p in ground.model.parameters()]
        self._waiting: dict[int, nn.Parameter] = {}
        """What would be trained already but for this."""

    def begin(self, total: int, optimizer: object) -> None:
        self._steps = self.recipe.unfreeze * total

    def before_step(self, step: int) -> None:
        for parameter in self._waiting.values():
            parameter.requires_grad_(True)
        lowest = self._top - int(step * self._top / self._steps)
        self._waiting = {id(p): p for p, depth in self._depths if depth < lowest and p.requires_grad}
        for parameter in self._waiting.values():
            parameter.requires_grad_(False)
