"""Metrics of single-label classification over label ids, computed by scikit-learn.

``labels`` are the classes averages run over; None means those that occur. Reports pass all classes of the model, so a
macro average counts a class that never occurs as 0, as ``classification_report(..., labels=range(n))`` does.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    matthews_corrcoef,
    precision_recall_fscore_support,
)

from ftcli.metrics.base import LabelMetric, as_label_set

AVERAGES = ("macro", "micro", "weighted")


class Accuracy(LabelMetric):
    """The share of rows predicted right."""

    def _compute(self, predictions: Any, references: Any, labels: Sequence[int] | None = None) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(references, predictions))}


class PrecisionRecallF1(LabelMetric):
    """Precision, recall and F1, each as macro, micro and weighted average; 0 where a quotient has no denominator."""

    def _compute(self, predictions: Any, references: Any, labels: Sequence[int] | None = None) -> dict[str, float]:
        scores: dict[str, float] = {}
        for average in AVERAGES:
            values = precision_recall_fscore_support(
                references, predictions, labels=as_label_set(labels), average=average, zero_division=0
            )
            scores.update(
                {f"{name}_{average}": float(v) for name, v in zip(("precision", "recall", "f1"), values, strict=False)}
            )
        return scores


class BalancedAccuracy(LabelMetric):
    """The mean recall of the classes that occur among the references."""

    def _compute(self, predictions: Any, references: Any, labels: Sequence[int] | None = None) -> dict[str, float]:
        with warnings.catch_warnings():  # "y_pred contains classes not in y_true": harmless to a mean recall
            warnings.simplefilter("ignore", UserWarning)
            return {"balanced_accuracy": float(balanced_accuracy_score(references, predictions))}


class MatthewsCorrelation(LabelMetric):
    """Matthews correlation coefficient; 0 where one class alone occurs."""

    def _compute(self, predictions: Any, references: Any, labels: Sequence[int] | None = None) -> dict[str, float]:
        with warnings.catch_warnings():  # "a single label was found": 0 is the documented answer
            warnings.simplefilter("ignore", UserWarning)
            return {"mcc": float(matthews_corrcoef(references, predictions))}
