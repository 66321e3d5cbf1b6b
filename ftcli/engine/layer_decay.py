"""Smaller steps for lower layers: what they know is general, and wants less change.

Layer-wise learning-rate decay as in Clark et al. 2020, "ELECTRA" (arXiv:2003.10555), after Howard & Ruder 2018
(arXiv:1801.06146).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from torch import nn

from ftcli.errors import UsageError


def depths(model: nn.Module, asked: str = "optimizer.layer_decay") -> tuple[dict[int, int], int]:
    """By id of a parameter, how deep it lies: 0 for what comes before the first layer, 1 for that layer, ..., and for
    what follows the last one the number returned beside. UsageError, naming the key that `asked`, for a model that is
    no stack of layers."""
    lists = {name: len(part) for name, part in model.named_modules() if isinstance(part, nn.ModuleList)}
    # A layer of T5's is a list of parts itself.
    stacks = {name: size for name, size in lists.items() if not any(name.startswith(f"{outer}.") for outer in lists)}
    layers = max(stacks.values(), default=0)
    if layers < 2:
        raise UsageError(
            f"{asked} needs a stack of layers, and {type(model).__name__} has none",
            hint="--set optimizer.layer_decay=1" if asked == "optimizer.layer_decay" else "leave it out",
        )
    inside = re.compile(
        f"(?:{'|'.join(re.escape(name) for name, size in stacks.items() if size == layers)})\\.(\\d+)\\."
    )
    embeddings = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    found: dict[int, int] = {}
    for name, parameter in model.named_parameters():
        layer = inside.match(name)
        before = id(parameter) in embeddings or any("embed" in part for part in name.split("."))
        found[id(parameter)] = int(layer[1]) + 1 if layer else 0 if before else layers + 1
    return found, layers + 1


def by_layer(groups: Sequence[dict[str, Any]], model: nn.Module, lr: float, decay: float) -> list[dict[str, Any]]:
    """Groups of parameters split by depth, the topmost first: `lr` there, `decay` times that a layer further down."""
    depth, top = depths(model)
    found = []
    for group in groups:
        layers: dict[int, list[nn.Parameter]] = defaultdict(list)
        for parameter in group["params"]:
            layers[depth[id(parameter)]].append(parameter)
        found += [{**group, "params": layers[at], "lr": lr * decay ** (top - at)} for at in layers]
    return sorted(found, key=lambda group: -float(group["lr"]))
