"""Steps over several sources at once: each has its share of the tokens, whatever its size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ftcli.data.sampler import WINDOW_STEPS, Sampler
from ftcli.errors import DataError


class MixedSampler(Sampler):
    """A sampler whose epochs hold the tokens of each source in proportion to its weight.

    An epoch is as many tokens as all rows have. Each source is an endless line of rows: all of them in random order,
    then all of them again in another, and so on. The line is cut into the source's quotas of tokens, one after the
    other, and an epoch takes the rows that begin in its own: so the share of a source is off by less than a row in
    any epoch and in all of them together, and no epoch depends on what was planned before. The lines are merged so
    that the proportions hold within an epoch as well, in each window of 50 steps.

    `groups` says of which source each row is, `weights` what share each source gets (in any unit). Raises DataError
    for a source that has a weight and no rows.
    """

    def __init__(
        self,
        lengths: npt.ArrayLike,
        groups: Sequence[int],
        weights: Sequence[float],
        rows_per_step: int,
        seed: int,
        tokens_per_step: int | None = None,
    ) -> None:
        super().__init__(lengths, rows_per_step, seed, tokens_per_step=tokens_per_step)
        numbers = np.asarray(groups)
        self._rows = [np.flatnonzero(numbers == group) for group in range(len(weights))]
        for group, rows in enumerate(self._rows):
            if not len(rows):
                raise DataError(f"source {group + 1} of {len(weights)} has a weight and no rows to train on")
        # A row without tokens takes up room all the same: each needs a place of its own in the line.
        self._sizes = np.maximum(self.lengths, 1)
        self.quotas = _shares(int(self._sizes.sum()), weights)
        """Tokens of each source in an epoch."""
        self._planned: tuple[int, list[np.ndarray]] | None = None

    def steps(self, epoch: int) -> int:
        """Steps of `epoch`."""
        return len(self.plan(epoch))

    def plan(self, epoch: int) -> list[np.ndarray]:
        """Row numbers of each step of `epoch`; a row of a source that is smaller than its share is there repeatedly."""
        if self._planned is None or self._planned[0] != epoch:
            self._planned = (epoch, self._plan(epoch))
        return list(self._planned[1])

    def _plan(self, epoch: int) -> list[np.ndarray]:
        drawn = [self._drawn(group, epoch) for group in range(len(self._rows))]
        places = np.concatenate([place for _, place in drawn])
        order = np.concatenate([rows for rows, _ in drawn])[np.argsort(places, kind="stable")]
        random = np.random.Generator(np.random.PCG64([self.seed, epoch]))
        steps: list[np.ndarray] = []
        window = self.rows_per_step * WINDOW_STEPS
        for start in range(0, len(order), window):
            rows = order[start : start + window]
            cut = self._cut(rows[np.argsort(self.lengths[rows], kind="stable")])
            steps.extend(cut[i] for i in random.permutation(len(cut)))
        return steps

    def _drawn(self, group: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """A source's rows of an epoch in the order of its line, and where in its quota (0 to 1) each begins."""
        quota, rows = self.quotas[group], self._rows[group]
        first, end = epoch * quota, (epoch + 1) * quota
        size = int(self._sizes[rows].sum())
        found, places = [rows[:0]], [np.empty(0)]
        for turn in range(first // size, -(-end // size)):
            shuffled = np.random.Generator(np.random.PCG64([self.seed, group, turn, len(rows)])).permutation(rows)
            ends = np.cumsum(self._sizes[shuffled])
            starts = ends - self._sizes[shuffled] + (turn * size - first)
            low, high = np.searchsorted(starts, [0, quota])
            found.append(shuffled[low:high])
            places.append(starts[low:high] / quota)
        return np.concatenate(found), np.concatenate(places)


def _shares(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers in proportion to `weights` that sum to `total`: what rounding down leaves goes to those that
    lost most by it."""
    exact = np.asarray(weights, dtype=np.float64) / sum(weights) * total
    shares = np.floor(exact).astype(np.int64)
    shares[np.argsort(shares - exact, kind="stable")[: total - int(shares.sum())]] += 1
    return [int(share) for share in shares]
