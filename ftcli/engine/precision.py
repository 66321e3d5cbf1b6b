"""Where the model runs and in which arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from ftcli.errors import UsageError


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
    """bf16 on GPUs that have it, fp16 with a scaler on older ones, fp32 on CPUs; TF32 for what stays fp32 on GPUs."""
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
