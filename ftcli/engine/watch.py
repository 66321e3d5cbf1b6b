"""Steps that went wrong: a loss or gradient that is not finite, or a gradient far beyond the usual."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ftcli.contract import Progress

MEMORY = 0.98
"""Weight of the past in the running mean of gradient norms."""
SETTLE = 20
"""Steps before that mean is worth comparing with."""


class Watch:
    """Takes in each step on the device; the host learns of the first bad one when it asks."""

    def __init__(self, device: torch.device, spike: float | None, *, check_norm: bool) -> None:
        self._spike, self._check_norm = spike, check_norm
        self._bad = torch.full((), -1, dtype=torch.int64, device=device)
        self._mean = torch.zeros((), device=device)
        self._steps = 0
        self._seen: list[Progress] = []

    def take(self, progress: Progress, norm: Tensor) -> None:
        """Another step and its gradient's norm before clipping."""
        if progress.skipped:
            return
        bad = ~torch.isfinite(progress.loss)
        if self._check_norm:
            bad = bad | ~torch.isfinite(norm)
        if self._spike is not None:
            if self._steps >= SETTLE:
                bad = bad | (norm > self._spike * self._mean)
            usual = norm if self._steps == 0 else MEMORY * self._mean + (1 - MEMORY) * norm
            self._mean = torch.where(bad, self._mean, usual)
        self._steps += 1
        self._bad = torch.where((self._bad < 0) & bad, len(self._seen), self._bad)
        self._seen.append(progress)

    def first_bad(self) -> Progress | None:
        """The first bad step since the last call; waits for the device."""
        index, seen = int(self._bad), self._seen
        self._bad.fill_(-1)
        self._seen = []
        return seen[index] if index >= 0 else None

    def state(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return {"mean": float(self._mean), "steps": self._steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self._mean.fill_(state["mean"])
        self._steps = int(state["steps"])
        self.first_bad()
