"""Weights and temperatures that change over a run."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ftcli.errors import UsageError

_RAMP = re.compile(r"\s*(\S+)\s*->\s*(\S+?)\s*(?:@\s*(\S+)\s*)?")


@dataclass(frozen=True)
class Ramp:
    """From `start` to `end` in a straight line over the first `share` of the steps, and `end` from there on."""

    start: float
    end: float
    share: float = 1.0

    def at(self, step: int, total: int) -> float:
        """The value at a step from 0."""
        whole = self.share * max(1, total - 1)
        return self.start + (self.end - self.start) * (min(1.0, step / whole) if whole else 1.0)

    @property
    def used(self) -> bool:
        """Whether it is ever more than 0."""
        return self.start > 0 or self.end > 0


def ramp(name: str, given: float | str, *, above_zero: bool = False) -> Ramp:
    """A number, or ``A -> B``, or ``A -> B @ SHARE``; UsageError for anything else, naming the key."""
    if not isinstance(given, str):
        return Ramp(given, given)
    match = _RAMP.fullmatch(given)
    try:
        parts = [float(part) for part in (match.groups(default="1") if match else (given, given, "1"))]
    except ValueError:
        parts = [math.nan]
    ok = len(parts) == 3 and all(math.isfinite(part) for part in parts) and 0 < parts[2] <= 1
    low = min(parts[:2])
    if not ok or low < 0 or (above_zero and low == 0):
        raise UsageError(
            f'distill.{name} is \'{given}\'; expected a number, "A -> B" or "A -> B @ SHARE"',
            hint=f'--set distill.{name}="1 -> 0 @ 0.5"',
        )
    return Ramp(*parts)
