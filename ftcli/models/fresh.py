"""Weights that start anew in a model that came with others."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn


def start_over(model: nn.Module, names: Collection[str]) -> None:
    """Initialise the modules of the parameters `names`, as the architecture does."""
    chosen = {id(parameter) for name, parameter in model.named_parameters() if name in names}
    init = getattr(model, "_init_weights")  # noqa: B009
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if own and all(id(parameter) in chosen for parameter in own):
            for parameter in own:
                parameter._is_hf_initialized = False  # type: ignore[attr-defined]
            module._is_hf_initialized = False  # type: ignore[assignment]
            init(module)
