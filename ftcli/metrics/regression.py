"""Metrics of numbers told: how well they follow the true ones, and how far they are from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ftcli.metrics.base import NumberMetric, as_numbers
from ftcli.metrics.resample import Floats, from_rows, from_sums

_ROUNDING = 1e-12
"""Share of a sum of squares below which what is left of it without the mean is but rounding."""


class Correlations(NumberMetric):
    """Pearson's and Spearman's correlation; NaN where either side is constant."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        predicted, true = np.asarray(predictions, float), np.asarray(references, float)
        return {"pearson": pearson(predicted, true), "spearman": pearson(ranks(predicted), ranks(true))}


class Distances(NumberMetric):
    """Mean squared and mean absolute error."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        off = np.asarray(predictions, float) - np.asarray(references, float)
        return {"mse": float(np.mean(off**2)), "mae": float(np.mean(np.abs(off)))}


def regression(predictions: Sequence[float], references: Sequence[float], *, bootstrap: int, seed: int) -> Any:
    """``metrics`` (pearson, spearman, mse, mae) and their ``intervals``, as `contract.Evaluation` has them."""
    predicted, true = as_numbers(predictions, "predictions"), as_numbers(references, "references")
    metrics = {
        **Correlations().compute(predictions=predicted, references=true),
        **Distances().compute(predictions=predicted, references=true),
    }
    off = predicted - true
    # Correlations do not change with the place of zero, and lose fewer digits near the mean.
    x, y = predicted - predicted.mean(), true - true.mean()
    rows = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y, off**2, np.abs(off)], axis=1)
    intervals = from_sums(rows, _of_sums, resamples=bootstrap, seed=seed)
    intervals |= from_rows(
        len(x),
        lambda drawn: {"spearman": pearson(ranks(predicted[drawn]), ranks(true[drawn]))},
        resamples=bootstrap,
        seed=seed,
    )
    return {"metrics": metrics, "intervals": {name: intervals[name] for name in metrics if name in intervals}}


def _of_sums(sums: Floats) -> dict[str, Floats]:
    n, x, y, xx, yy, xy, square, absolute = sums.T
    of_x, of_y = n * xx - x * x, n * yy - y * y
    varied = (of_x > _ROUNDING * n * xx) & (of_y > _ROUNDING * n * yy)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.where(varied, (n * xy - x * y) / np.sqrt(of_x * of_y), np.nan)
    return {"pearson": np.clip(correlation, -1, 1), "mse": square / n, "mae": absolute / n}


def pearson(x: Floats, y: Floats) -> float:
    """Pearson's correlation of two columns of numbers; NaN where one is constant."""
    if x.min() == x.max() or y.min() == y.max():
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1))


def ranks(values: Floats) -> Floats:
    """Ranks from 1 on; equal values share the mean of theirs."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    shared: Floats = ((2 * ends - counts + 1) / 2)[group]
    return shared
