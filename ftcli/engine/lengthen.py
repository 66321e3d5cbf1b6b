"""Length warm-up: early steps see the beginnings of texts only, which grow until they are whole."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ftcli.contract import Example
from ftcli.data.pieces import Pieces
from ftcli.data.sampler import Sampler, grown

Draw = Callable[[Example, int, int], Example]
SHORTEST = 8
"""Tokens that are left in any case: with fewer there is little to predict from."""


class Lengthening:
    """`draw` of examples cut to the length that the step they belong to allows.

    Over the first `warmup` steps it grows as `grown` says to `longest` tokens (Li et al. 2022, "The
    stability-efficiency dilemma", arXiv:2108.06084: stable at larger learning rates, and early steps are cheap). The
    step of a row follows from the sampler's plan, so that nothing but seed, epoch and row decides what is cut.
    """

    def __init__(self, draw: Draw, examples: Pieces, sampler: Sampler, warmup: int, longest: int) -> None:
        self._draw, self._examples, self._sampler = draw, examples, sampler
        self._warmup, self._longest = warmup, longest
        self._limits: dict[int, np.ndarray | None] = {}

    def __call__(self, example: Example, epoch: int, row: int) -> Example:
        """The example with its answers, whole or cut before they were drawn."""
        limits = self.limits(epoch)
        if limits is not None and len(example["input_ids"]) > limits[row]:
            example = self._examples.shortened(row, int(limits[row]))
        return self._draw(example, epoch, row)

    def limits(self, epoch: int) -> np.ndarray | None:
        """(rows,) the most tokens each example may have in `epoch`; None where all may be whole."""
        if epoch not in self._limits:
            self._limits = {epoch: self._of_epoch(epoch)}
        return self._limits[epoch]

    def _of_epoch(self, epoch: int) -> np.ndarray | None:
        if epoch >= self._warmup:  # an epoch has at least one step
            return None
        first = self._sampler.start(epoch)
        if first >= self._warmup:
            return None
        limits = np.full(len(self._examples), self._longest, dtype=np.int32)
        for step, rows in enumerate(self._sampler.plan(epoch), start=first):
            limits[rows] = max(SHORTEST, round(self._longest * grown(step, self._warmup)))
        return limits
