"""95 % percentile bootstrap intervals of classification metrics, from the confusion matrix alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

INTERVAL_METRICS = ("accuracy", "precision_macro", "recall_macro", "f1_macro", "f1_micro", "f1_weighted")
_COUNTS_AT_ONCE = 2_000_000
"""Cells of resampled matrices held together: bounds memory to some 50 MB however many classes there are."""


def intervals(matrix: Counts, *, resamples: int, seed: int) -> dict[str, tuple[float, float]]:
    """Metric -> the 2.5 and 97.5 percentiles over `resamples` resamples of the rows counted in `matrix`.

    Drawing n rows with replacement is drawing the matrix's cells from a multinomial distribution, so the cost depends
    on the number of occupied cells and not on the number of rows.
    """
    if resamples <= 0:
        return {}
    chunks = [_metrics(*chunk) for chunk in _resampled(matrix, resamples, np.random.default_rng(seed))]
    bounds = {name: np.percentile(np.concatenate([c[name] for c in chunks]), (2.5, 97.5)) for name in INTERVAL_METRICS}
    return {name: (float(low), float(high)) for name, (low, high) in bounds.items()}


def on_resamples(true: Counts, predicted: Counts, classes: int, counts: Counts) -> dict[str, Floats]:
    """The report's averages (resamples,) of rows with these label ids, each there `counts` (resamples, rows) times."""
    right = np.flatnonzero(true == predicted)
    hits = _sum_by(true[right], counts[:, right], classes)
    of_true, of_predicted = _sum_by(true, counts, classes), _sum_by(predicted, counts, classes)
    found = _metrics(hits, of_true, of_predicted)
    found["precision_weighted"] = (_ratio(hits, of_predicted) * of_true).sum(axis=1) / of_true.sum(axis=1)
    return found | dict.fromkeys(("precision_micro", "recall_micro", "recall_weighted"), found["accuracy"])


def _resampled(matrix: Counts, resamples: int, rng: np.random.Generator) -> Iterator[tuple[Counts, Counts, Counts]]:
    """Chunks of resamples as (hits, true, predicted) counts by class, each of shape (resamples in chunk, classes)."""
    classes = len(matrix)
    true, predicted = np.nonzero(matrix)
    cells = matrix[true, predicted]
    rows = int(cells.sum())
    right = np.flatnonzero(true == predicted)
    size = max(1, _COUNTS_AT_ONCE // max(len(cells), classes))
    for start in range(0, resamples, size):
        draws = rng.multinomial(rows, cells / rows, size=min(size, resamples - start))
        hits = np.zeros((len(draws), classes), dtype=np.int64)
        hits[:, true[right]] = draws[:, right]
        yield hits, _sum_by(true, draws, classes), _sum_by(predicted, draws, classes)


def _sum_by(group: Counts, draws: Counts, classes: int) -> Counts:
    """Columns of `draws` added up by their `group` number."""
    order = np.argsort(group, kind="stable")
    present, starts = np.unique(group[order], return_index=True)
    sums = np.zeros((len(draws), classes), dtype=np.int64)
    if not len(present):
        return sums
    sums[:, present] = np.add.reduceat(draws[:, order], starts, axis=1)
    return sums


def _metrics(hits: Counts, true: Counts, predicted: Counts) -> dict[str, Floats]:
    """`INTERVAL_METRICS` of each resample; over all classes, and 0 where there is no denominator, as in the report."""
    rows = true.sum(axis=1)
    f1 = _ratio(2 * hits, true + predicted)
    accuracy = hits.sum(axis=1) / rows
    return {
        "accuracy": accuracy,
        "precision_macro": _ratio(hits, predicted).mean(axis=1),
        "recall_macro": _ratio(hits, true).mean(axis=1),
        "f1_macro": f1.mean(axis=1),
        "f1_micro": accuracy,  # the same number, since every class takes part
        "f1_weighted": (f1 * true).sum(axis=1) / rows,
    }


def _ratio(above: Counts, below: Counts) -> Floats:
    return np.divide(above, below, out=np.zeros(above.shape), where=below > 0)
