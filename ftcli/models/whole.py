"""Tensors of which each process holds a share (FSDP2's), and the whole ones."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def is_shared(tensor: Tensor) -> bool:
    """True where this process holds a share of `tensor` only."""
    kind: Any = sys.modules.get("torch.distributed.tensor")
    return kind is not None and isinstance(tensor, kind.DTensor)


def whole(tensor: Tensor) -> Tensor:
    """All of `tensor`; every process that holds a share has to ask for it, in the same order."""
    shared: Any = tensor
    found: Tensor = shared.full_tensor() if is_shared(tensor) else tensor
    return found


def like(value: Tensor, other: Tensor) -> Tensor:
    """The whole `value`, shared among the processes as `other` is, and where it is; one that is shared, as it is."""
    if not is_shared(other):
        return value.to(other.device)
    if is_shared(value):
        return value
    from torch.distributed.tensor import distribute_tensor

    shared: Any = other
    return distribute_tensor(value.to(shared.device), shared.device_mesh, shared.placements, src_data_rank=None)


def part_again(model: nn.Module) -> None:
    """Give back what the outermost modules of a shared `model` put together: FSDP2 does so after a backward pass only,
    and until then its parameters are others than the optimiser's."""
    fsdp: Any = sys.modules.get("torch.distributed.fsdp")
    for module in model.modules() if fsdp is not None else ():
        if isinstance(module, fsdp.FSDPModule):
            module.reshard()


def put(value: Tensor, target: Tensor) -> None:
    """Copy the whole `value` into `target`, which may be shared."""
    with torch.no_grad():
        target.copy_(like(value.to(target.dtype), target))


def load_into(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put whole tensors by name into `model`, which may be shared; names it does not have are left out."""
    own = model.state_dict(keep_vars=True)
    for name, value in tensors.items():
        if name in own:
            put(value, own[name])
