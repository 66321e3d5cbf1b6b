"""Two models on the same rows: bootstrap intervals of differences, and McNemar's test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Scorer = Callable[[Counts], Mapping[str, Floats]]
"""Counts (resamples, rows) -> metric -> (resamples,)."""

TEST = "exact binomial, two-sided"
_COUNTS_AT_ONCE = 4_000_000
"""Counts that are held together: some 100 MB with what is made of them."""


def draws(rows: int, resamples: int, seed: int) -> Iterator[Counts]:
    """Chunks of (resamples in chunk, rows): how often each row is there when as many are drawn with replacement."""
    rng = np.random.default_rng(seed)
    size = max(1, _COUNTS_AT_ONCE // max(1, rows))
    for start in range(0, resamples, size):
        chunk = min(size, resamples - start)
        drawn = rng.integers(0, rows, size=(chunk, rows))
        shifted = drawn + np.arange(chunk)[:, None] * rows
        yield np.bincount(shifted.ravel(), minlength=chunk * rows).reshape(chunk, rows).astype(np.int64)


def resample(
    scorers: Sequence[Scorer], rows: int, *, resamples: int, seed: int, done: Callable[[int], None] | None = None
) -> list[dict[str, Floats]]:
    """For each scorer: metric -> (resamples,), all on the same resamples of the rows (a paired bootstrap).

    Efron and Tibshirani 1993, "An Introduction to the Bootstrap". `done` hears of resamples as they are finished.
    """
    found: list[dict[str, list[Floats]]] = [{} for _ in scorers]
    for counts in draws(rows, resamples, seed):
        for scorer, of_scorer in zip(scorers, found, strict=True):
            for name, values in scorer(counts).items():
                of_scorer.setdefault(name, []).append(values)
        if done is not None:
            done(len(counts))
    return [{name: np.concatenate(parts) for name, parts in of_scorer.items()} for of_scorer in found]


def interval(values: Floats) -> tuple[float, float] | None:
    """The 2.5 and 97.5 percentiles; None where a resample has no finite value."""
    if not len(values) or not np.isfinite(values).all():
        return None
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> dict[str, Any]:
    """McNemar's test of two classifiers' rightness, row by row: counts and a two-sided p-value.

    Exact throughout: under the hypothesis that both are right equally often, each row that one alone has right falls to
    either with chance one half (a binomial test of those rows). p is 1 where there is no such row. McNemar 1947; for
    classifiers Dietterich 1998, "Approximate Statistical Tests for Comparing Supervised Classification Learning
    Algorithms", who takes the chi-square approximation with its correction.
    """
    from scipy.stats import binomtest

    one, two = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if one.shape != two.shape:
        raise ValueError(f"{len(one)} rows of one and {len(two)} of the other")
    lost, gained = int((one & ~two).sum()), int((~one & two).sum())
    p_value = float(binomtest(lost, lost + gained, 0.5).pvalue) if lost + gained else 1.0
    return {
        "test": TEST,
        "both_right": int((one & two).sum()),
        "baseline_only": lost,
        "run_only": gained,
        "both_wrong": int((~one & ~two).sum()),
        "p_value": p_value,
    }
