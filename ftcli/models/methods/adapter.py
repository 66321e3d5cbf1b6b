"""Bottleneck adapters, our own: small networks inside the layers of a frozen model.

Saved as two files. ``adapter.json``: ``{"format": 1, "placement", "size", "activation", "modules"}``, the last being
the names of the modules that an adapter follows. ``adapter.safetensors``: every trained tensor under its name in the
model, so ``MODULE.down.weight`` (size, width), ``MODULE.down.bias`` (size,), ``MODULE.up.weight`` (width, size) and
``MODULE.up.bias`` (width,) for each, then norms (houlsby) and the head. An adapter computes
``y = h + up(gelu(down(h)))`` of the module's result h.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from ftcli.errors import UsageError
from ftcli.models.methods.based import FORMAT, Based
from ftcli.models.methods.layer_norm import LayerNorms
from ftcli.models.methods.targets import chosen

CONFIG, WEIGHTS = "adapter.json", "adapter.safetensors"
_PLACES = {"houlsby": ("attention_out", "ffn_out"), "pfeiffer": ("ffn_out",)}
_START = 1e-3
"""Standard deviation that weights start with: the adapter begins as next to nothing."""


class Adapter(Based):
    """A bottleneck behind attention and the feed-forward network of every layer, and the norms (Houlsby et al. 2019,
    "Parameter-Efficient Transfer Learning for NLP", arXiv:1902.00751), or behind the feed-forward network alone
    (Pfeiffer et al. 2021, "AdapterFusion", arXiv:2005.00247)."""

    def extend(self, model: nn.Module) -> nn.Module:
        recipe = self.recipe
        self.modules = chosen(model, recipe.targets, _PLACES[recipe.placement])
        if not self.modules:
            raise UsageError(f"method adapter finds nothing to follow in {type(model).__name__}",
                             hint="--set method.targets=all")  # fmt: skip
        norms = LayerNorms(recipe).selected(model) if recipe.placement == "houlsby" else ()
        trained = {id(p) for name, p in model.named_parameters() if p.requires_grad
                   and (name in norms or any(name.startswith(f"{head}.") for head in self.heads))}  # fmt: skip
        self.size = recipe.bottleneck or max(8, _width(model.get_submodule(self.modules[0])) // 8)
        for parameter in model.parameters():
            parameter.requires_grad_(id(parameter) in trained)
        insert(model, self.modules, self.size)
        return model

    def write(self, model: Any, folder: Path) -> None:
        tensors = {n: p.detach().cpu().contiguous() for n, p in model.named_parameters() if p.requires_grad}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        told = {
            "format": FORMAT,
            "placement": self.recipe.placement,
            "size": self.size,
            "activation": "gelu",
            "modules": self.modules,
        }
        (folder / CONFIG).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


class Bottleneck(nn.Module):
    """`layer`, and an adapter behind it."""

    def __init__(self, layer: nn.Module, size: int) -> None:
        super().__init__()
        width, place = _width(layer), next(layer.parameters()).device
        self.base_layer = layer
        self.down, self.up = nn.Linear(width, size, device=place), nn.Linear(size, width, device=place)
        for part in (self.down, self.up):
            nn.init.trunc_normal_(part.weight, std=_START, a=-2 * _START, b=2 * _START)
            nn.init.zeros_(part.bias)

    def forward(self, *given: Any, **named: Any) -> Tensor:
        """(..., width) -> (..., width)."""
        hidden: Tensor = self.base_layer(*given, **named)
        changed: Tensor = hidden + self.up(functional.gelu(self.down(hidden)))
        return changed


def insert(model: nn.Module, modules: Collection[str], size: int) -> None:
    """Put an adapter behind each of the named modules, in place."""
    for name in modules:
        owner, _, own = name.rpartition(".")
        setattr(model.get_submodule(owner), own, Bottleneck(model.get_submodule(name), size))


def attach(model: nn.Module, folder: Path) -> nn.Module:
    """A base model with what a run saved in `folder`."""
    told = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    insert(model, told["modules"], int(told["size"]))
    tensors = load_file(folder / WEIGHTS)
    unknown = set(tensors) - set(model.state_dict())
    if unknown:
        raise UsageError(f"'{folder / WEIGHTS}' has weights that the model lacks: {', '.join(sorted(unknown)[:3])}")
    model.load_state_dict(tensors, strict=False)
    return model


def _width(layer: nn.Module) -> int:
    """Numbers that a projection gives."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return int(weight.shape[1] if type(layer).__name__ == "Conv1D" else weight.shape[0])
