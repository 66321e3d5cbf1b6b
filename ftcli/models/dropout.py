"""Dropout on the CPU without the cost of its random numbers: four mask entries from each 64-bit word.

The probability is honoured to within 1/65536 (a 16-bit threshold), and the scale is the inverse of what is really
kept, so the expectation is exact. The words come from torch's own generator: seeded, checkpointed and resumed with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ftcli.models.row_random import bits, row_streams

_LEVELS = 1 << 16


def dropped_share(rate: float) -> float:
    """The rate that a 16-bit threshold gives for `rate`."""
    return min(max(round(rate * _LEVELS), 0), _LEVELS) / _LEVELS


# Once lengths vary, torch 2.13 compiles numbers of one width seen as another's to a mask of a wrong size.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def keep_mask(count: int, rate: float) -> Tensor:
    """(count,) int16 on the CPU: 1 with probability 1 - `dropped_share(rate)`, else 0, independently."""
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    return kept(words.view(torch.int16)[:count], rate)


def kept(drawn: Tensor, rate: float) -> Tensor:
    """Random int16 turned, in their place, into 1 where they keep what they fall on, else 0."""
    threshold = int(dropped_share(rate) * _LEVELS) - _LEVELS // 2
    if threshold >= _LEVELS // 2:  # everything is dropped; no int16 is as large
        return drawn.zero_()
    return drawn.ge_(threshold)


def keep_mask_by_row(shape: Sequence[int], rate: float) -> Tensor:
    """`keep_mask` in the `shape` of what it falls on, drawn by row where the batch says how its rows lie in it.

    (rows, ...), or (1, tokens, ...) with the sequences one after the other. What padding or filler gets has no meaning.
    """
    streams, count = row_streams(), math.prod(shape)
    if streams is None:
        drawn: Tensor = keep_mask(count, rate)
        return drawn.view(*shape)
    lengths = streams.layouts.get(shape[1]) if len(shape) > 2 and shape[0] == 1 else None
    if lengths is None:
        return kept(bits(streams.keys(shape[0]), [count // shape[0]] * shape[0]), rate).view(*shape)
    width = math.prod(shape[2:])
    found = bits(streams.keys(len(lengths)), [length * width for length in lengths])
    return kept(nn.functional.pad(found, (0, count - len(found))), rate).view(*shape)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float) -> Tensor:
        share = dropped_share(rate)
        mask = torch.mul(keep_mask_by_row(x.shape, rate), 1 / (1 - share) if share < 1 else 0.0).to(x.dtype)
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
