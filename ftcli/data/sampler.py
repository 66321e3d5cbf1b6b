"""Which rows make which optimiser step: seeded, length-aware, computable at any position without replay."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

WINDOW_STEPS = 50
"""Steps whose rows are sorted by length together: long enough to waste little padding, short enough to stay random."""
SMALLEST = 1 / 8
"""Share of a whole step, or of the longest text, that a warm-up of either begins with."""


def grown(step: int, warmup: int) -> float:
    """The share that a warm-up of `warmup` steps has come to at `step`: from `SMALLEST` in a straight line to 1."""
    return 1.0 if step >= warmup else SMALLEST + (1 - SMALLEST) * step / warmup


class Sampler:
    """Every epoch holds every row once. Rows are shuffled, cut into windows, sorted by length inside a window, cut
    into steps, and the steps shuffled. The plan depends on the seed and the epoch alone.

    A step holds `rows_per_step` rows or, where `tokens_per_step` is given, as many rows as that many tokens allow
    (at least one); the steps of an epoch then differ in number from one epoch to another.

    The first `warmup` steps of the run are smaller, growing as `grown` says (batch-size warm-up, as in Brown et al.
    2020, arXiv:2005.14165): early on few rows give as good a direction, and the same rows give more updates.
    """

    def __init__(
        self, lengths: npt.ArrayLike, rows_per_step: int, seed: int, *, tokens_per_step: int | None = None
    ) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.rows_per_step = rows_per_step
        self.seed = seed
        self.tokens_per_step = tokens_per_step
        self.warmup = 0
        self._starts = [0]
        if tokens_per_step is not None and len(self.lengths):
            self.rows_per_step = max(1, round(tokens_per_step / max(1.0, float(self.lengths.mean()))))

    def warm_up(self, steps: int) -> None:
        """Let the first `steps` steps of the run be smaller ones."""
        self.warmup, self._starts = steps, [0]

    def steps(self, epoch: int) -> int:
        """Steps of `epoch`."""
        if self.tokens_per_step is None and (not self.warmup or self.start(epoch) >= self.warmup):
            return -(-len(self.lengths) // self.rows_per_step)
        return len(self.plan(epoch))

    def start(self, epoch: int) -> int:
        """Steps before `epoch`."""
        while len(self._starts) <= epoch:
            self._starts.append(self._starts[-1] + self.steps(len(self._starts) - 1))
        return self._starts[epoch]

    def plan(self, epoch: int) -> list[np.ndarray]:
        """Row numbers of each step of `epoch`; by rows, only one step after the warm-up may hold fewer than
        `rows_per_step`, or two in the epoch it ends in."""
        steps = self._whole(epoch)
        return self._grow(steps, self.start(epoch)) if self.warmup and self.start(epoch) < self.warmup else steps

    def _grow(self, steps: list[np.ndarray], first: int) -> list[np.ndarray]:
        """The same rows in the same order, the steps up to the end of the warm-up cut anew; `first` comes first."""
        rows = np.concatenate(steps)
        whole = self.tokens_per_step or self.rows_per_step
        ends = np.cumsum(self.lengths[rows]) if self.tokens_per_step is not None else np.arange(1, len(rows) + 1)
        found: list[np.ndarray] = []
        at = 0
        while at < len(rows) and first + len(found) < self.warmup:
            room = (ends[at - 1] if at else 0) + whole * grown(first + len(found), self.warmup)
            stop = max(at + 1, int(np.searchsorted(ends, room, side="right")))
            found.append(rows[at:stop])
            at = stop
        for step in steps:
            if at < len(step):
                found.append(step[at:])
            at = max(0, at - len(step))
        return found

    def _whole(self, epoch: int) -> list[np.ndarray]:
        """The plan without a warm-up."""
        random = np.random.Generator(np.random.PCG64([self.seed, epoch]))
        order = random.permutation(len(self.lengths))
        steps: list[np.ndarray] = []
        window = self.rows_per_step * WINDOW_STEPS
        for start in range(0, len(order), window):
            rows = order[start : start + window]
            rows = rows[np.argsort(self.lengths[rows], kind="stable")]
            steps.extend(self._cut(rows))
        return [steps[i] for i in random.permutation(len(steps))]

    def _cut(self, rows: np.ndarray) -> list[np.ndarray]:
        """The rows of a window as steps, in order."""
        if self.tokens_per_step is None:
            return [rows[i : i + self.rows_per_step] for i in range(0, len(rows), self.rows_per_step)]
        ends = np.cumsum(self.lengths[rows])
        steps, start, before = [], 0, 0
        while start < len(rows):
            stop = max(start + 1, int(np.searchsorted(ends, before + self.tokens_per_step, side="right")))
            steps.append(rows[start:stop])
            start, before = stop, int(ends[stop - 1])
        return steps
