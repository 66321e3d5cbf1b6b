"""Rankings against scikit-learn and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from ftcli.metrics import METRICS
from ftcli.metrics.ranking import NAMES, of_query, rankings


def test_by_hand() -> None:
    """In order: 0, 3, 0, 1 (gains); the relevant ones are second and fourth."""
    found = dict(zip(NAMES, of_query([0.1, 0.9, 0.7, 0.3], [1, 0, 3, 0]), strict=True))
    dcg = 3 / math.log2(3) + 1 / math.log2(5)
    assert found == pytest.approx(
        {"ndcg@10": dcg / (3 + 1 / math.log2(3)), "mrr": 1 / 2, "map": (1 / 2 + 2 / 4) / 2, "recall@1": 0,
         "recall@10": 1}
    )  # fmt: skip


def test_depth() -> None:
    """Relevant first and twelfth of twelve."""
    found = dict(zip(NAMES, of_query(-np.arange(12.0), [1, *[0] * 10, 1]), strict=True))
    assert found["recall@1"] == found["recall@10"] == 0.5
    assert found["map"] == pytest.approx((1 + 2 / 12) / 2)
    assert found["ndcg@10"] == pytest.approx(1 / (1 + 1 / math.log2(3)))


def test_a_model_that_says_nothing_gains_nothing_by_the_order_of_the_data() -> None:
    found = dict(zip(NAMES, of_query([0.5] * 4, [1, 0, 0, 0]), strict=True))
    assert found["mrr"] == found["map"] == 0.25
    assert found["ndcg@10"] == pytest.approx(ndcg_score([[1, 0, 0, 0]], [[0.5] * 4], k=10))


_ROW = st.tuples(st.integers(0, 3), st.integers(0, 5))


@given(st.lists(_ROW, min_size=2, max_size=15).filter(lambda rows: any(grade for grade, _ in rows)))
def test_equal_scikit_learn(rows: list[tuple[int, int]]) -> None:
    grades, scores = (np.array(column, float) for column in zip(*rows, strict=True))
    found = dict(zip(NAMES, of_query(scores, grades), strict=True))
    assert found["ndcg@10"] == pytest.approx(ndcg_score([grades], [scores], k=10))
    apart = scores + 1e-3 * np.argsort(np.argsort(-grades, kind="stable"))  # no ties
    found = dict(zip(NAMES, of_query(apart, grades), strict=True))
    assert found["map"] == pytest.approx(average_precision_score(grades > 0, apart))


def test_queries_without_a_relevant_candidate_do_not_count() -> None:
    queries = [of_query([2, 1], [0, 1]), of_query([1, 2], [0, 0]), of_query([2, 1], [1, 0])]
    found = rankings(queries, bootstrap=100, seed=0)
    assert found["metrics"]["mrr"] == 0.75
    low, high = found["intervals"]["mrr"]
    assert 0.5 <= low < 0.75 < high <= 1
    again = METRICS.part("rankings")().compute(predictions=[[2, 1], [1, 2]], references=[[0, 1], [0, 0]])
    assert again["mrr"] == 0.5
    assert math.isnan(rankings([of_query([1], [0])], bootstrap=0, seed=0)["metrics"]["map"])


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        METRICS.part("rankings")().compute(predictions=[[math.nan]], references=[[1]])
