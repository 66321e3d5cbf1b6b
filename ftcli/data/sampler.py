"""Which rows make which optimiser step: seeded, length-aware, computable at any position without replay."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WINDOW_STEPS = 50
"""Steps whose rows are sorted by length together: long enough to waste little padding, short enough to stay random."""


class Sampler:
    """Every epoch holds every row once. Rows are shuffled, cut into windows, sorted by length inside a window, cut
    into steps, and the steps shuffled. The plan depends on the seed and the epoch alone.

    A step holds `rows_per_step` rows or, where `tokens_per_step` is given, as many rows as that many tokens allow
    (at least one); the steps of an epoch then differ in number from one epoch to another.
    """

    def __init__(
        self, lengths: Sequence[int], rows_per_step: int, seed: int, *, tokens_per_step: int | None = None
    ) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.rows_per_step = rows_per_step
        self.seed = seed
        self.tokens_per_step = tokens_per_step
        if tokens_per_step is not None and len(self.lengths):
            self.rows_per_step = max(1, round(tokens_per_step / max(1.0, float(self.lengths.mean()))))

    def steps(self, epoch: int) -> int:
        """Steps of `epoch`."""
        if self.tokens_per_step is None:
            return -(-len(self.lengths) // self.rows_per_step)
        return len(self.plan(epoch))

    def plan(self, epoch: int) -> list[np.ndarray]:
        """Row numbers of each step of `epoch`; by rows, only one step may hold fewer than `rows_per_step`."""
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
