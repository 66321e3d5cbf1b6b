"""Where the model runs and in which arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from ftcli.errors import UsageError

LARGE_ENOUGH = 2_500_000
"""Parameters outside embeddings from which on bf16 pays on a CPU that has instructions for it: with fewer, turning
numbers from one form into the other takes as long as it saves."""


def pick_device(name: str) -> torch.device:
    """The device of `train.device`; auto takes an accelerator where there is one. UsageError if it is not there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device '{name}'", hint="cpu, cuda, cuda:1, mps or auto") from None
    available = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    count = available.get(device.type, 0)
    if (device.index or 0) >= count:
        raise UsageError(f"device '{name}' is not on this machine ({count} of that kind)", hint="--device auto")
    return device


@dataclass
class Precision:
    """The forward pass's arithmetic, and the gradient scaler fp16 needs."""

    name: str
    device: torch.device
    scaler: torch.amp.GradScaler

    @contextmanager
    def autocast(self) -> Iterator[None]:
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.name)
        with torch.autocast(self.device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            yield


def pick_precision(name: str, device: torch.device) -> Precision:
    """bf16 on GPUs that have it, fp16 with a scaler on older ones, fp32 on CPUs (but see `for_training`); TF32 for
    what stays fp32 on GPUs."""
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = name != "fp32"
        torch.backends.cudnn.allow_tf32 = name != "fp32"
    if name == "auto":
        name = "fp32"
        if device.type == "cuda":
            name = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if name == "fp16" and device.type == "cpu":
        raise UsageError("precision fp16 needs a GPU", hint="--precision fp32, or bf16 on CPUs that are fast at it")
    return Precision(name, device, torch.amp.GradScaler(device.type, enabled=name == "fp16"))


def for_training(asked: str, picked: Precision, model: nn.Module) -> Precision:
    """What to train `model` in where `picked` is what it is scored in: under `auto`, bf16 on CPUs that are fast at it.

    Weights, gradients and the optimiser's state stay fp32; scores stay those that any other machine gives.
    """
    if asked != "auto" or picked.device.type != "cpu" or not cpu_is_fast_at_bf16() or _dense(model) < LARGE_ENOUGH:
        return picked
    return Precision("bf16", picked.device, picked.scaler)


def cpu_is_fast_at_bf16() -> bool:
    """True where the CPU multiplies bf16 by instructions of its own; without them it is far slower than fp32."""
    ask = getattr(torch.cpu, "get_capabilities", None)
    capabilities = {} if ask is None else ask()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _dense(model: nn.Module) -> int:
    embedded = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    return sum(p.numel() for p in model.parameters() if id(p) not in embedded)
