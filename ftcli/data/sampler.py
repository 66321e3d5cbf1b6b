"""Which rows make which optimiser step: seeded, length-aware, computable at any position without replay."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WINDOW_STEPS = 50
"""Steps whose rows are sorted by length together: long enough to waste little padding, short enough to stay random."""


class Sampler:
    """Every epoch holds every row once. Rows are shuffled, cut into windows, sorted by length inside a window, cut
    into steps, and the steps shuffled. The plan depends on the seed and the epoch alone."""

    def __init__(self, lengths: Sequence[int], rows_per_step: int, seed: int) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.rows_per_step = rows_per_step
        self.seed = seed

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.lengths) // self.rows_per_step)

    def plan(self, epoch: int) -> list[np.ndarray]:
        """Row numbers of each step of `epoch`; only one step may hold fewer than `rows_per_step`."""
        random = np.random.Generator(np.random.PCG64([self.seed, epoch]))
        order = random.permutation(len(self.lengths))
        steps: list[np.ndarray] = []
        window = self.rows_per_step * WINDOW_STEPS
        for start in range(0, len(order), window):
            rows = order[start : start + window]
            rows = rows[np.argsort(self.lengths[rows], kind="stable")]
            steps.extend(rows[i : i + self.rows_per_step] for i in range(0, len(rows), self.rows_per_step))
        return [steps[i] for i in random.permutation(len(steps))]
