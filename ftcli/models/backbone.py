"""What of a model is the architecture itself, and what was put on it for a task."""

from __future__ import annotations

from typing import Any

from torch import nn


def outside_backbone(model: Any) -> list[str]:
    """Names of the parameters that belong to the task: all that the architecture's base model does not hold."""
    inside = _inside(model)
    return [name for name, parameter in model.named_parameters() if id(parameter) not in inside]


def _inside(model: Any) -> set[int]:
    """Ids of the backbone's parameters. Where a model is its own (T5 with a language model's head), those are all but
    the output layer's; what that has in common with the embeddings is the backbone's."""
    backbone: Any = getattr(model, str(getattr(model, "base_model_prefix", "")), None)
    if isinstance(backbone, nn.Module):
        return {id(p) for p in backbone.parameters()}
    if backbone is None and hasattr(model, "base_model_prefix") and "For" not in type(model).__name__:
        return {id(p) for p in model.parameters()}  # an architecture without a head
    itself: Any = getattr(model, "base_model", None)
    if itself is not model or not hasattr(model, "get_output_embeddings") or model.get_output_embeddings() is None:
        encoder = getattr(model, "encoder", None)  # Whisper's classifier has the encoder alone
        return {id(p) for p in encoder.parameters()} if isinstance(encoder, nn.Module) else set()
    output = itself.get_output_embeddings()
    shared = {id(p) for p in itself.get_input_embeddings().parameters()}
    head = {id(p) for p in output.parameters()} - shared
    return {id(p) for p in itself.parameters()} - head
