"""Error rates of transcripts: edits that make the true text of what was written, for each true word or character."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ftcli.metrics.base import PairMetric
from ftcli.metrics.resample import Floats, from_sums


class TranscriptErrors(PairMetric):
    """Word and character error rates over all rows together, NaN where no true text has any; the share of texts that
    are right as a whole."""

    def feature(self, datasets: Any) -> Any:
        return datasets.Value("string")

    def convert(self, values: Any, what: str) -> list[str]:
        rows = list(values)
        for place, text in enumerate(rows):
            if not isinstance(text, str):
                raise ValueError(f"{what}[{place}] is {text!r:.80}, not a text")
        if not rows:
            raise ValueError(f"nothing to score: {what} is empty")
        return rows

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {name: float(value[0]) for name, value in _rates(_counted(predictions, references).sum(0)[None]).items()}


def transcripts(predictions: Sequence[str], references: Sequence[str], *, bootstrap: int, seed: int) -> dict[str, Any]:
    """``metrics`` (wer, cer, exact) and their ``intervals``, as `contract.Evaluation` has them."""
    metrics = TranscriptErrors().compute(predictions=predictions, references=references)
    intervals = from_sums(_counted(predictions, references), _rates, resamples=bootstrap, seed=seed)
    return {"metrics": metrics, "intervals": {name: intervals[name] for name in metrics if name in intervals}}


def _counted(predictions: Sequence[str], references: Sequence[str]) -> Floats:
    """(rows, 6): edits and true ones of words, then of characters; wholly right ones, and all of them."""
    rows = []
    for predicted, true in zip(predictions, references, strict=True):
        words, letters = (predicted.split(), true.split()), (predicted.strip(), true.strip())
        rows.append([edits(*words), len(words[1]), edits(*letters), len(letters[1]), words[0] == words[1], 1])
    return np.array(rows, dtype=np.float64)


def _rates(sums: Floats) -> dict[str, Floats]:
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {"wer": sums[:, 0] / sums[:, 1], "cer": sums[:, 2] / sums[:, 3], "exact": sums[:, 4] / sums[:, 5]}
    return {name: np.where(np.isfinite(rate), rate, np.nan) for name, rate in found.items()}


def edits(given: Sequence[Any], wanted: Sequence[Any]) -> int:
    """Fewest insertions, deletions and substitutions that turn `given` into `wanted` (Levenshtein 1966)."""
    codes: dict[Any, int] = {}
    first, second = (np.array([codes.setdefault(item, len(codes)) for item in row], dtype=np.int64)
                     for row in (given, wanted))  # fmt: skip
    places = np.arange(len(second) + 1)
    row = places.copy()
    for number, item in enumerate(first, 1):
        best = np.empty_like(row)
        best[0] = number
        best[1:] = np.minimum(row[1:] + 1, row[:-1] + (second != item))
        # What an insertion after an insertion costs is their number: the running minimum of cost less place.
        row = np.minimum.accumulate(best - places) + places
    return int(row[-1])
