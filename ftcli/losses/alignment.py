"""Loss of sequences whose places in time are not known: sums, like those of `supervised`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def ctc(logits: Tensor, frames: Tensor, targets: Tensor, lengths: Tensor, blank: int) -> Tensor:
    """Sum over rows of -log of the probability of all ways to write the row's targets over its frames -> scalar, fp32.

    `logits` (rows, frames, tokens), `frames` (rows,) real ones, `targets` (all targets,) end to end, `lengths` (rows,)
    of them; `blank` is the token between others. A row with fewer frames than its targets need (`room`) has no such way
    and counts 0. Graves et al. 2006, "Connectionist Temporal Classification".
    """
    likely = functional.log_softmax(logits.to(torch.float32), dim=-1).transpose(0, 1)
    return functional.ctc_loss(likely, targets, frames, lengths, blank=blank, reduction="sum", zero_infinity=True)


def room(targets: Tensor) -> int:
    """Frames that `targets` (n,) need at least: one each, and a blank between two alike."""
    return len(targets) + int((targets[1:] == targets[:-1]).sum())
