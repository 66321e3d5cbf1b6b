"""What is told of rankings: metrics over queries, and which queries are answered right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ftcli.contract import Evaluation, Prediction, Rows
from ftcli.contract_options import Verdict


class RankingScores:
    """Scores of predictions that hold ``scores`` of a query's candidates, or vectors of ``query`` and candidates."""

    def score(self, rows: Rows, predictions: Sequence[Prediction], *, bootstrap: int, seed: int) -> Evaluation:
        """The order of the candidates of each query; where all of these are relevant, of every query, over
        the candidates of all queries."""
        from ftcli.metrics.ranking import NAMES, rankings

        if not _finite(predictions):
            return Evaluation(dict.fromkeys(NAMES, float("nan")))
        by_query, details = _by_query(rows, predictions)
        if none := sum(bool(np.isnan(one[0])) for one in by_query):
            details["queries_without_relevant"] = none
        return Evaluation(**rankings(by_query, bootstrap=bootstrap, seed=seed), details=details)

    def score_resamples(self, rows: Rows, predictions: Sequence[Prediction], counts: Any) -> dict[str, Any]:
        """The same; candidates are those of all queries, drawn or not."""
        from ftcli.metrics.ranking import on_resamples

        return on_resamples(_by_query(rows, predictions)[0], counts) if _finite(predictions) else {}

    def judge(self, rows: Rows, predictions: Sequence[Prediction]) -> list[Verdict]:
        """Right is a query whose first candidate is relevant, among those that `score` looks at."""
        from ftcli.metrics.ranking import first_of, together

        texts, grades = rows.column("candidates"), rows.column("label")
        if not _meet(predictions):
            scored = zip(texts, [p["scores"] for p in predictions], grades, strict=True)
            offered = ((own, np.array(scores), np.array(gains)) for own, scores, gains in scored)
        else:
            everything, by_query = together(texts, grades, predictions)
            offered = ((everything, scores, gains) for scores, gains in by_query)
        found = []
        for of_query, scores, gains in offered:
            first = first_of(scores, gains)
            wanted = of_query[int(gains.argmax())] if gains.max() > 0 else "none"
            found.append(Verdict(bool(gains[first] > 0 and np.isfinite(scores).all()), wanted, of_query[first]))
        return found

    def metric_names(self) -> list[str]:
        from ftcli.metrics.ranking import NAMES

        return ["loss", *NAMES]


def _finite(predictions: Sequence[Prediction]) -> bool:
    return all(np.isfinite(p["scores"]).all() for p in predictions)


def _meet(predictions: Sequence[Prediction]) -> bool:
    """True where each query is to be scored among the candidates of all."""
    return all("vectors" in p for p in predictions)


def _by_query(rows: Rows, predictions: Sequence[Prediction]) -> tuple[list[Any], dict[str, Any]]:
    """The metrics of each query, and how many candidates there were where it is those of all."""
    from ftcli.metrics.ranking import among_all, of_query

    grades = rows.column("label")
    if not _meet(predictions):
        return [of_query(p["scores"], label) for p, label in zip(predictions, grades, strict=True)], {}
    by_query, many = among_all(rows.column("candidates"), grades, predictions)
    return by_query, {"candidates": many}
