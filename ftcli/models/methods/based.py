"""What methods have in common that learn something beside a base model and leave the base model where it is.

Such a run's model folder holds what was learnt, the configuration (labels and all), the tokenizer and ``base.json``:
which model it belongs to, and a hash over the base's weights, so that another one is not taken for it unseen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ftcli.errors import UsageError
from ftcli.models.methods.base import Method, head_names

BASE = "base.json"
FORMAT = 1
_MARK = "_ftcli_base_weights"


class Based(Method):
    """A method that adds to a model. Subclasses add it (`extend`), write it and read it back."""

    keeps_base = True
    lr_scale = 10.0

    def adapt(self, model: nn.Module, fresh: Collection[str]) -> nn.Module:
        """The base's weights frozen; the head's, the fresh ones and the method's own to be trained."""
        self.heads = head_modules(model, fresh)
        self.base_hash = weights_hash(model, self.heads)
        self.architecture = type(model).__name__
        adapted = self.extend(model)
        mark_base(adapted)
        return adapted

    def extend(self, model: nn.Module) -> nn.Module:
        """The model with the method's own weights in it; all others frozen but for `self.heads`."""
        raise NotImplementedError

    def save(self, model: Any, folder: Path, base: Mapping[str, Any]) -> None:
        """What was learnt, and what it belongs to."""
        folder.mkdir(parents=True, exist_ok=True)
        model.config.architectures = [self.architecture]
        model.config.save_pretrained(folder)
        self.write(model, folder)
        told = {
            "format": FORMAT,
            **base,
            "method": self.recipe.name,
            "quantize": self.recipe.quantize,
            "reserved": self.reserved,
            "heads": self.heads,
            "weights": self.base_hash,
        }
        (folder / BASE).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")

    def write(self, model: Any, folder: Path) -> None:
        """The method's own files."""
        raise NotImplementedError


def head_modules(model: nn.Module, fresh: Collection[str]) -> list[str]:
    """Modules that are trained whole: the task's head, the pooler, and what starts fresh in the backbone.

    A pretrained head of a language model, its vocabulary's worth of weights, is none of them.
    """
    output = getattr(model, "get_output_embeddings", lambda: None)()
    pretrained = {id(p) for p in output.parameters()} if output is not None else set()
    by_name = dict(model.named_parameters())
    names = [name for name in head_names(model) if name in fresh or id(by_name[name]) not in pretrained]
    owners = {_whole(name) for name in [*names, *fresh] if "." in name}
    return sorted(owner for owner in owners if not any(owner.startswith(f"{other}.") for other in owners))


def _whole(name: str) -> str:
    """The module that a parameter is trained with: a pooler as a whole, else the parameter's own."""
    parts = name.split(".")
    return ".".join(parts[: parts.index("pooler") + 1]) if "pooler" in parts[:-1] else ".".join(parts[:-1])


def mark_base(model: nn.Module) -> None:
    """Remember which weights of `model` are the base's own: they are in its files already, and kept nowhere else."""
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    names = [name for name, tensor in model.state_dict(keep_vars=True).items()
             if isinstance(tensor, nn.Parameter) and id(tensor) not in trained]  # fmt: skip
    object.__setattr__(model, _MARK, frozenset(names))


def base_weights(model: nn.Module) -> frozenset[str]:
    """Names of weights that a method took from a base model and never changes; none where it keeps no base."""
    found: frozenset[str] = getattr(model, _MARK, frozenset())
    return found


def weights_hash(model: nn.Module, without: Collection[str]) -> str:
    """SHA-256 over names and bytes of a base model's weights, but for those of the modules in `without`."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if not any(name.startswith(f"{module}.") for module in without):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_base(model: nn.Module, told: Mapping[str, Any], folder: Path) -> None:
    """UsageError where `model` is not the base model that the run in `folder` belongs to."""
    if weights_hash(model, told["heads"]) != told["weights"]:
        raise UsageError(
            f"the model under '{folder}' ({told['name']}) has other weights now than when it was trained on",
            hint="--set model.base=NAME names the model it was; or train again",
        )
