"""What methods have in common that put learnt vectors before a text: peft's prompt learning."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from ftcli.errors import UsageError
from ftcli.models.methods.pefted import WEIGHTS, Pefted, task_type
from ftcli.recipe.method import MethodRecipe


class Prompted(Pefted):
    """Virtual tokens before each text. They take their places among the positions the model has."""

    mergeable = False
    lr_scale = 50.0

    def __init__(self, recipe: MethodRecipe) -> None:
        super().__init__(recipe)
        self.reserved = recipe.virtual_tokens

    def extend(self, model: Any) -> nn.Module:
        if getattr(model, "main_input_name", "input_ids") != "input_ids":
            raise UsageError(f"method {self.recipe.name} puts words before a text, and this model reads none",
                             hint="--method lora")  # fmt: skip
        if task_type(model) is None:
            raise UsageError(f"peft has no prompt learning for a {type(model).__name__}", hint="--method lora")
        return super().extend(model)

    def inner(self, peft: Any) -> nn.Module:
        """Peft's model, which puts the virtual tokens there; its head is trained, which peft leaves to the user."""
        for head in self.heads:
            peft.base_model.get_submodule(head).requires_grad_(True)
        found: nn.Module = peft
        return found

    def write(self, model: Any, folder: Path) -> None:
        """With the head beside the prompt: peft reads what names of its model it finds."""
        super().write(model, folder)
        tensors = load_file(folder / WEIGHTS)
        own = model.base_model.state_dict()
        for name, tensor in own.items():
            if any(name.startswith(f"{head}.") for head in self.heads):
                tensors[f"base_model.{name}"] = tensor.detach().cpu().contiguous()
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def refuse_without_cache(model: Any, method: str) -> None:
    """UsageError for an architecture whose attention takes no keys and values from outside."""
    parts = [model, getattr(model, str(getattr(model, "base_model_prefix", "")), None)]
    if not any(part is not None and "past_key_values" in inspect.signature(part.forward).parameters for part in parts):
        raise UsageError(
            f"method {method} gives keys and values to attention, and {model.config.model_type} models take none",
            hint="--method prompt or --method lora",
        )
