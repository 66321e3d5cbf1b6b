"""Scores of candidates put in order for a query: averages over the queries that have a relevant candidate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ftcli.metrics.base import PairMetric
from ftcli.metrics.resample import Floats, from_sums, ratio

NAMES = ("ndcg@10", "mrr", "map", "recall@1", "recall@10")
_DEPTH = 10


class Rankings(PairMetric):
    """nDCG of the first ten, mean reciprocal rank, mean average precision, and recall of the first and the first ten.

    A row is a query: predictions are the scores of its candidates, references their relevance (from 0).
    """

    def feature(self, datasets: Any) -> Any:
        return datasets.List(datasets.Value("float64"))

    def convert(self, values: Any, what: str) -> list[list[float]]:
        rows = [np.asarray(row, dtype=np.float64) for row in values]
        if not rows:
            raise ValueError(f"nothing to score: {what} is empty")
        if not all(row.ndim == 1 and len(row) and np.isfinite(row).all() for row in rows):
            raise ValueError(f"{what} must be a list of finite numbers for each query")
        return [row.tolist() for row in rows]

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        table = np.array([of_query(s, r) for s, r in zip(predictions, references, strict=True)])
        return {name: float(value[0]) for name, value in _of_sums(_sums(table).sum(0)[None]).items()}


def of_query(scores: npt.ArrayLike, relevance: npt.ArrayLike) -> Floats:
    """(5,) `NAMES` of one query; NaN where none of its candidates is relevant.

    The gain of nDCG is the relevance itself, and among equal scores it is shared, both as scikit-learn's ``ndcg_score``
    has it (Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques"). The others count any
    relevance above 0, and among equal scores the relevant candidates last.
    """
    score, gain = np.asarray(scores, dtype=float), np.asarray(relevance, dtype=float)
    if not (gain > 0).any():
        return np.full(len(NAMES), np.nan)
    order = np.lexsort((gain, -score))
    discounts = np.where(np.arange(len(gain)) < _DEPTH, 1 / np.log2(np.arange(len(gain)) + 2), 0.0)
    _, ties = np.unique(-score, return_inverse=True)
    shared = np.bincount(ties, gain) / np.bincount(ties)
    dcg = shared[ties[order]] @ discounts
    ideal = np.sort(gain)[::-1] @ discounts
    hits = gain[order] > 0
    ranks = np.flatnonzero(hits) + 1
    precision = np.arange(1, len(ranks) + 1) / ranks
    return np.array([dcg / ideal, 1 / ranks[0], precision.mean(), (ranks <= 1).mean(), (ranks <= _DEPTH).mean()])


def among_all(
    texts: Sequence[Sequence[str]], relevance: Sequence[Sequence[float]], predictions: Sequence[Mapping[str, Any]]
) -> tuple[list[Floats], int]:
    """`of_query` of each query over the candidates of all, each text once; and how many these are.

    `predictions` hold the vector of the ``query`` and ``vectors`` of its own candidates; scores are their products.
    """
    everything, by_query = together(texts, relevance, predictions)
    return [of_query(scores, gains) for scores, gains in by_query], len(everything)


def together(
    texts: Sequence[Sequence[str]], relevance: Sequence[Sequence[float]], predictions: Sequence[Mapping[str, Any]]
) -> tuple[list[str], Iterator[tuple[Floats, Floats]]]:
    """The candidates of all queries, each text once, and for one query after the other (candidates,) their scores and
    their relevance; see `among_all`."""
    places: dict[str, int] = {}
    vectors: list[Floats] = []
    for own, prediction in zip(texts, predictions, strict=True):
        for text, vector in zip(own, prediction["vectors"], strict=True):
            if text not in places:
                places[text] = len(vectors)
                vectors.append(vector)
    table = np.stack(vectors)

    def by_query() -> Iterator[tuple[Floats, Floats]]:
        for own, grades, prediction in zip(texts, relevance, predictions, strict=True):
            gains = np.zeros(len(table))
            gains[[places[text] for text in own]] = grades
            yield table @ prediction["query"], gains

    return list(places), by_query()


def first_of(scores: npt.ArrayLike, relevance: npt.ArrayLike) -> int:
    """Place of the candidate with the highest score; among equal ones of the least relevant, as in `of_query`."""
    return int(np.lexsort((np.asarray(relevance, dtype=float), -np.asarray(scores, dtype=float)))[0])


def rankings(by_query: Sequence[Floats], *, bootstrap: int, seed: int) -> dict[str, Any]:
    """``metrics`` and ``intervals`` (over queries) as `contract.Evaluation` has them, out of `of_query`'s results."""
    rows = _sums(np.array(by_query))
    metrics = {name: float(value[0]) for name, value in _of_sums(rows.sum(0)[None]).items()}
    intervals = from_sums(rows, _of_sums, resamples=bootstrap, seed=seed)
    return {"metrics": metrics, "intervals": {name: intervals[name] for name in metrics if name in intervals}}


def on_resamples(by_query: Sequence[Floats], counts: npt.ArrayLike) -> dict[str, Floats]:
    """Metric -> (resamples,) its values where every query is there as often as `counts` (resamples, queries) says."""
    return _of_sums(np.asarray(counts) @ _sums(np.array(by_query)))


def _sums(table: Floats) -> Floats:
    """(queries, 1 + 5): whether a query counts, and its scores."""
    known = ~np.isnan(table[:, :1])
    return np.hstack([known.astype(float), np.where(known, table, 0.0)])


def _of_sums(sums: Floats) -> dict[str, Floats]:
    some = sums[:, 0] > 0
    return {name: np.where(some, ratio(sums[:, i], sums[:, 0]), np.nan) for i, name in enumerate(NAMES, 1)}
