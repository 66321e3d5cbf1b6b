"""Batches on a device: their size, their way there, and what it is like when they do not fit."""

from __future__ import annotations

import torch
from torch import Tensor

from ftcli.contract import Batch
from ftcli.engine.ahead import pinned
from ftcli.errors import OutOfMemoryError


def is_out_of_memory(error: BaseException) -> bool:
    """True where the device, or the host, has no memory left for a tensor."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def too_large(device: torch.device, *batches: Batch) -> OutOfMemoryError:
    """The error for batches of one row that do not fit."""
    tokens = max(count_tokens(batch) for batch in batches)
    return OutOfMemoryError(
        f"out of memory on {device} even with one row of {tokens:,} tokens per forward pass",
        hint=f"--max-length {max(1, tokens // 2)} or less, or a smaller model",
    )


def count_tokens(batch: Batch) -> int:
    """Real (unpadded) tokens of a batch that still lies on the host, or what it says; rows where it says nothing."""
    if isinstance(batch.get("tokens"), int):  # a mask of sounds is of samples
        return int(batch["tokens"])
    mask = batch.get("attention_mask")
    return int(mask.sum()) if mask is not None else len(next(iter(batch.values())))


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch's tensors on `device`, copied without waiting where that is possible."""
    if device.type == "cpu":
        return batch
    if device.type == "cuda":
        batch = pinned(batch)  # itself, where it is already
    return {
        k: v.to(device, non_blocking=device.type == "cuda") if isinstance(v, Tensor) else v for k, v in batch.items()
    }
