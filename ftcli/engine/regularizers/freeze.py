"""Embeddings, and layers above them, that stay as they came."""

from __future__ import annotations

from ftcli.engine.regularizers.base import Ground, Regularizer
from ftcli.errors import UsageError


class Freeze(Regularizer):
    """The lowest layers are not trained, whatever the method trains elsewhere.

    AdaLoRA deals out ranks by what each layer learns, and one that is frozen learns nothing.
    """

    from_pretrained = True
    methods_refused = ("adalora",)

    def attach(self, ground: Ground) -> None:
        asked = self.recipe.freeze
        layers = asked if isinstance(asked, int) else 0
        depth, top = ground.layers("regularize.freeze")
        if layers >= top:
            raise UsageError(
                f"regularize.freeze is {layers}, and the model has {top - 1} layers",
                hint=f"at most {top - 1}; --method head trains the head alone",
            )
        self._frozen = [p for p in ground.model.parameters() if depth[id(p)] <= layers]
        self.before_step(0)

    def before_step(self, step: int) -> None:
        """Once more: a method may just have freed what it had frozen itself."""
        for parameter in self._frozen:
            parameter.requires_grad_(False)
