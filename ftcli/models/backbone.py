"""What of a model is the architecture itself, and what was put on it for a task."""

from __future__ import annotations

from typing import Any

from torch import nn


def outside_backbone(model: Any) -> list[str]:
    """Names of the parameters that belong to the task: all that the architecture's base model does not hold."""
    backbone = getattr(model, str(getattr(model, "base_model_prefix", "")), None)
    if backbone is None and hasattr(model, "base_model_prefix") and "For" not in type(model).__name__:
        backbone = model  # an architecture without a head
    if not isinstance(backbone, nn.Module):  # Whisper's classifier has the encoder alone
        backbone = getattr(model, "encoder", None)
    inside = {id(p) for p in backbone.parameters()} if isinstance(backbone, nn.Module) else set()
    return [name for name, parameter in model.named_parameters() if id(parameter) not in inside]
