"""Scores of entities, as the CoNLL shared tasks count them.

Tjong Kim Sang and Buchholz 2000 (ACL W00-0726): an entity is right where its type, its first and its last token are;
precision, recall and F1 are over all entities of all sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ftcli.metrics.base import TagMetric
from ftcli.metrics.resample import Floats, from_sums, ratio
from ftcli.metrics.tags import spans


class EntityF1(TagMetric):
    """Precision, recall and F1 over entity spans, and the share of tokens whose tag is right."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        rows, _ = _counted(predictions, references)
        found = {name: float(value[0]) for name, value in _of_sums(rows.sum(0)[None]).items()}
        pairs = [pair for p, r in zip(predictions, references, strict=True) for pair in zip(p, r, strict=True)]
        return {**found, "accuracy": sum(p == r for p, r in pairs) / max(1, len(pairs))}


def entities(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]], *, bootstrap: int, seed: int
) -> dict[str, Any]:
    """``metrics``, ``classes`` (a row for each type of entity) and ``intervals``, as `contract.Evaluation` has them.

    `f1`, `precision` and `recall` are over all entities; macro and weighted averages over the types that occur.
    """
    metrics = EntityF1().compute(predictions=predictions, references=references)
    rows, types = _counted(predictions, references)
    hits, given, true = np.split(rows.sum(0), 3)
    classes = [
        {"label": t, "precision": float(ratio(h, g)), "recall": float(ratio(h, n)), "f1": float(ratio(2 * h, g + n)),
         "support": int(n)}
        for t, h, g, n in zip(types, hits, given, true, strict=True)
    ]  # fmt: skip
    intervals = from_sums(rows, _of_sums, resamples=bootstrap, seed=seed)
    return {
        "metrics": metrics,
        "classes": classes,
        "intervals": {name: intervals[name] for name in metrics if name in intervals},
    }


def _counted(predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> tuple[Floats, list[str]]:
    """(sentences, 3 x types): entities right, given and true; and the types."""
    pairs = [(spans(p), spans(r)) for p, r in zip(predictions, references, strict=True)]
    types = sorted({span.type for pair in pairs for side in pair for span in side})
    place = {name: i for i, name in enumerate(types)}
    rows = np.zeros((len(pairs), 3 * len(types)))
    for row, (given, true) in zip(rows, pairs, strict=True):
        for third, found in enumerate((set(given) & set(true), given, true)):
            for kind, count in Counter(span.type for span in found).items():
                row[third * len(types) + place[kind]] = count
    return rows, types


def _of_sums(sums: Floats) -> dict[str, Floats]:
    hits, given, true = np.split(sums, 3, axis=1)
    by_type = {"f1": ratio(2 * hits, given + true), "precision": ratio(hits, given), "recall": ratio(hits, true)}
    h, g, n = hits.sum(1), given.sum(1), true.sum(1)
    found = {"f1": ratio(2 * h, g + n), "precision": ratio(h, g), "recall": ratio(h, n)}
    occur = ((given > 0) | (true > 0)).sum(1)
    for name, values in by_type.items():
        found[f"{name}_macro"] = ratio(values.sum(1), occur)
        found[f"{name}_weighted"] = ratio((values * true).sum(1), n)
    return found
