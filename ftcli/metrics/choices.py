"""The accuracy of choices, which have no classes, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ftcli.metrics.classification import Accuracy
from ftcli.metrics.resample import from_sums


def accuracy(predictions: Sequence[int], references: Sequence[int], *, bootstrap: int, seed: int) -> dict[str, Any]:
    """``metrics`` and ``intervals`` as `contract.Evaluation` has them."""
    right = np.array(predictions) == np.array(references)
    rows = np.column_stack([right, np.ones(len(right))])
    intervals = from_sums(rows, lambda sums: {"accuracy": sums[:, 0] / sums[:, 1]}, resamples=bootstrap, seed=seed)
    return {"metrics": Accuracy().compute(predictions=predictions, references=references), "intervals": intervals}
