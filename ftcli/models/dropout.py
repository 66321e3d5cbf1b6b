"""Dropout on the CPU without the cost of its random numbers: four mask entries from each 64-bit word.

The probability is honoured to within 1/65536 (a 16-bit threshold), and the scale is the inverse of what is really
kept, so the expectation is exact. The words come from torch's own generator: seeded, checkpointed and resumed with it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_LEVELS = 1 << 16


def dropped_share(rate: float) -> float:
    """The rate that a 16-bit threshold gives for `rate`."""
    return min(max(round(rate * _LEVELS), 0), _LEVELS) / _LEVELS


# Once lengths vary, torch 2.13 compiles numbers of one width seen as another's to a mask of a wrong size.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def keep_mask(count: int, rate: float) -> Tensor:
    """(count,) int16 on the CPU: 1 with probability 1 - `dropped_share(rate)`, else 0, independently."""
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    threshold = int(dropped_share(rate) * _LEVELS) - _LEVELS // 2
    if threshold >= _LEVELS // 2:  # everything is dropped; no int16 is as large
        return torch.zeros(count, dtype=torch.int16)
    return words.view(torch.int16)[:count].ge_(threshold)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float) -> Tensor:
        share = dropped_share(rate)
        mask = torch.mul(keep_mask(x.numel(), rate).view(x.shape), 1 / (1 - share) if share < 1 else 0.0).to(x.dtype)
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return grads[0] * mask, None


class FastDropout(nn.Dropout):
    """`nn.Dropout` that draws its mask fast where the input lies on the CPU."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return super().forward(x)
        return _Dropout.apply(x, self.p)  # type: ignore[no-any-return, no-untyped-call]


def speed_up_dropout(model: nn.Module) -> int:
    """Have every plain `nn.Dropout` of `model` draw fast; returns how many there are. Nothing saved changes."""
    found = [module for module in model.modules() if type(module) is nn.Dropout]
    for module in found:
        module.__class__ = FastDropout
    return len(found)
