"""Metrics of any number of labels per row, from each label's probability and the threshold it is given at."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from ftcli.metrics.base import SetMetric
from ftcli.metrics.resample import Floats, from_sums, ratio

AVERAGES = ("micro", "macro", "weighted")


class SetF1(SetMetric):
    """Precision, recall and F1 over labels, each as micro, macro and weighted average, and the share of rows whose
    labels are all right; 0 where a quotient has no denominator."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        given, true = np.asarray(predictions) >= 0.5, np.asarray(references) >= 0.5
        sums = np.concatenate([(given & true).sum(0), given.sum(0), true.sum(0)]).astype(float)
        found = {name: float(value[0]) for name, value in _of_sums(sums[None]).items()}
        return {**found, "exact_match": float((given == true).all(1).mean())}


class AveragePrecision(SetMetric):
    """The area under the curve of precision over recall of all labels together: needs no threshold."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        true = np.asarray(references) >= 0.5
        if not true.any():
            return {"average_precision": float("nan")}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return {"average_precision": float(average_precision_score(true.ravel(), np.asarray(predictions).ravel()))}


def multi_label(
    scores: Any, references: Any, names: Sequence[str], thresholds: Sequence[float], *, bootstrap: int, seed: int
) -> dict[str, Any]:
    """``metrics``, ``classes`` and ``intervals`` as `contract.Evaluation` has them.

    `scores` (rows, labels) are probabilities, `references` (rows, labels) 0 or 1, `thresholds` (labels,).
    """
    scores, true = np.asarray(scores, dtype=float), np.asarray(references) >= 0.5
    given = scores >= np.asarray(thresholds)
    metrics = {
        **SetF1().compute(predictions=given.astype(float), references=true.astype(float)),
        **AveragePrecision().compute(predictions=scores, references=true.astype(float)),
    }
    hits = given & true
    rows = np.concatenate([hits, given, true], axis=1)
    precision, recall, f1 = _by_label(*np.split(rows.sum(0)[None].astype(float), 3, axis=1))
    classes = [
        {"label": n, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for n, p, r, f, s in zip(names, precision[0], recall[0], f1[0], true.sum(0), strict=True)
    ]
    exact = (given == true).all(1)
    intervals = from_sums(rows, _of_sums, resamples=bootstrap, seed=seed)
    intervals |= from_sums(
        np.stack([exact, np.ones(len(exact))], axis=1),
        lambda sums: {"exact_match": sums[:, 0] / sums[:, 1]},
        resamples=bootstrap,
        seed=seed,
    )
    kept = {name: intervals[name] for name in metrics if name in intervals}
    return {"metrics": metrics, "classes": classes, "intervals": kept}


def best_thresholds(scores: Any, references: Any) -> list[float]:
    """(labels,) the threshold of each label that gives it the best F1; 0.5 for one that never occurs.

    Between the scores of two neighbouring rows, halfway; of equally good ones the highest, which gives fewest labels.
    """
    found = []
    for column, true in zip(np.asarray(scores, dtype=float).T, (np.asarray(references) >= 0.5).T, strict=True):
        if not true.any():
            found.append(0.5)
            continue
        order = np.argsort(-column, kind="stable")
        sorted_scores, hits = column[order], np.cumsum(true[order])
        f1 = 2 * hits / (np.arange(1, len(column) + 1) + true.sum())
        f1[:-1][sorted_scores[:-1] == sorted_scores[1:]] = -1  # equal scores are given the label together or not at all
        best = int(np.argmax(f1))
        below = sorted_scores[best + 1] if best + 1 < len(column) else 0.0
        found.append(float((sorted_scores[best] + below) / 2))
    return found


def _by_label(hits: Floats, given: Floats, true: Floats) -> tuple[Floats, Floats, Floats]:
    return ratio(hits, given), ratio(hits, true), ratio(2 * hits, given + true)


def _of_sums(sums: Floats) -> dict[str, Floats]:
    """`sums` (resamples, 3 x labels): labels right, given and true."""
    hits, given, true = np.split(sums, 3, axis=1)
    found: dict[str, Floats] = {}
    share = ratio(true, true.sum(1, keepdims=True))
    for name, of_labels, of_all in zip(
        ("precision", "recall", "f1"),
        _by_label(hits, given, true),
        _by_label(hits.sum(1), given.sum(1), true.sum(1)),
        strict=True,
    ):
        found |= {
            f"{name}_micro": of_all,
            f"{name}_macro": of_labels.mean(1),
            f"{name}_weighted": (of_labels * share).sum(1),
        }
    order = [f"{name}_{average}" for average in AVERAGES for name in ("f1", "precision", "recall")]
    return {name: found[name] for name in order}
