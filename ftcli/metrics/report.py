"""Everything a classification report holds, from references and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from ftcli.metrics import METRICS
from ftcli.metrics.base import Labels, as_labels
from ftcli.metrics.bootstrap import intervals

DEFAULT_METRICS = ("accuracy", "precision_recall_f1")


def classification(
    references: Sequence[int],
    predictions: Sequence[int],
    names: Sequence[str],
    *,
    bootstrap: int,
    seed: int,
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> dict[str, Any]:
    """``metrics``, ``classes``, ``confusion_matrix`` and ``intervals``, named and shaped as in `contract.Evaluation`.

    `names` are all classes of the model in the order of their ids. The numbers equal scikit-learn's
    ``classification_report(references, predictions, labels=list(range(len(names))), target_names=names,
    zero_division=0, output_dict=True)``: a class that never occurs has a row with support 0 and counts as 0 in the
    macro average. `bootstrap` is the number of resamples (0: no intervals).
    """
    true, predicted = as_labels(references, "references"), as_labels(predictions, "predictions")
    _check_range(true, predicted, len(names))
    labels = list(range(len(names)))
    scores: dict[str, float] = {}
    for name in metrics:
        scores.update(METRICS.part(name)().compute(predictions=predicted, references=true, labels=labels))
    matrix = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(matrix, (true, predicted), 1)
    return {
        "metrics": scores,
        "classes": _classes(true, predicted, names),
        "confusion_matrix": {"labels": list(names), "rows": matrix.tolist()},
        "intervals": intervals(matrix, resamples=bootstrap, seed=seed),
    }


def _check_range(true: Labels, predicted: Labels, classes: int) -> None:
    if len(true) != len(predicted):
        raise ValueError(f"{len(predicted)} predictions for {len(true)} references")
    for values, what in ((true, "references"), (predicted, "predictions")):
        outside = values[(values < 0) | (values >= classes)]
        if outside.size:
            raise ValueError(f"label id {outside[0]} among the {what} is none of the {classes} classes")


def _classes(true: Labels, predicted: Labels, names: Sequence[str]) -> list[dict[str, Any]]:
    columns = precision_recall_fscore_support(
        true, predicted, labels=list(range(len(names))), average=None, zero_division=0
    )
    return [
        {"label": name, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for name, p, r, f, s in zip(names, *columns, strict=True)
    ]
