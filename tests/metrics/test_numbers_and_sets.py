"""Correlations, distances and sets of labels against scipy, scikit-learn and hand-worked cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from ftcli.metrics.multi_label import best_thresholds, multi_label
from ftcli.metrics.regression import ranks, regression
from ftcli.metrics.resample import from_rows, from_sums

NUMBERS = arrays(np.float64, st.integers(2, 30), elements=st.sampled_from([-2.5, 0.0, 0.1, 1.0, 3.0, 1e6]))


@settings(deadline=None, max_examples=50)
@given(NUMBERS, st.integers(0, 99))
def test_correlations_are_scipy_s(x: np.ndarray, seed: int) -> None:
    y = np.random.default_rng(seed).normal(size=len(x))
    found = regression(x, y, bootstrap=0, seed=0)["metrics"]
    assert ranks(x) == pytest.approx(stats.rankdata(x))
    if len(set(x)) == 1:
        assert math.isnan(found["pearson"])
        assert math.isnan(found["spearman"])
    else:
        assert found["pearson"] == pytest.approx(stats.pearsonr(x, y)[0], abs=1e-9)
        assert found["spearman"] == pytest.approx(stats.spearmanr(x, y)[0], abs=1e-9)
    assert found["mse"] == pytest.approx(np.mean((x - y) ** 2))
    assert found["mae"] == pytest.approx(np.mean(np.abs(x - y)))


def test_intervals_hold_the_value_and_narrow_with_rows() -> None:
    random = np.random.default_rng(0)
    widths = {}
    for rows in (50, 2000):
        y = random.normal(1e4, 1, rows)
        x = y + random.normal(0, 1, rows)
        found = regression(x, y, bootstrap=300, seed=1)
        assert set(found["intervals"]) == {"pearson", "spearman", "mse", "mae"}
        for name, (low, high) in found["intervals"].items():
            assert low < found["metrics"][name] < high
        low, high = found["intervals"]["pearson"]
        widths[rows] = high - low
        resampled = from_rows(
            rows, lambda drawn, x=x, y=y: {"p": stats.pearsonr(x[drawn], y[drawn])[0]}, resamples=300, seed=9
        )
        assert resampled["p"] == pytest.approx((low, high), abs=0.1 * (high - low) + 0.02)
    assert widths[2000] < widths[50] / 3


def test_sums_are_resampled_whatever_their_number() -> None:
    rows = np.ones((9, 2))
    assert from_sums(rows, lambda s: {"m": s[:, 0] / s[:, 1]}, resamples=10, seed=0) == {"m": (1.0, 1.0)}
    assert from_sums(rows[:0], lambda s: {"m": s[:, 0]}, resamples=10, seed=0) == {}
    assert from_sums(rows, lambda s: {"m": s[:, 0] * np.nan}, resamples=10, seed=0) == {}


@settings(deadline=None, max_examples=50)
@given(
    arrays(np.int8, st.tuples(st.integers(1, 12), st.integers(2, 4)), elements=st.integers(0, 1)), st.integers(0, 99)
)
def test_sets_are_scored_as_by_scikit_learn(true: np.ndarray, seed: int) -> None:
    scores = np.random.default_rng(seed).random(true.shape).round(1)
    names = [str(i) for i in range(true.shape[1])]
    found = multi_label(scores, true, names, [0.5] * len(names), bootstrap=0, seed=0)
    given_ = scores >= 0.5
    for average in ("micro", "macro", "weighted"):
        expected = precision_recall_fscore_support(true, given_, average=average, zero_division=0)
        for name, value in zip(("precision", "recall", "f1"), expected, strict=False):
            assert found["metrics"][f"{name}_{average}"] == pytest.approx(value)
    assert found["metrics"]["exact_match"] == pytest.approx((true == given_).all(1).mean())
    if true.any():
        expected = average_precision_score(true.ravel(), scores.ravel())
        assert found["metrics"]["average_precision"] == pytest.approx(expected)


@settings(deadline=None, max_examples=50)
@given(arrays(np.int8, st.integers(1, 15), elements=st.integers(0, 1)), st.integers(0, 99))
def test_no_threshold_is_better(true: np.ndarray, seed: int) -> None:
    scores = np.random.default_rng(seed).random(len(true)).round(1)

    def f1(threshold: float) -> float:
        hits = int(((scores >= threshold) & (true == 1)).sum())
        return 2 * hits / max(1, (scores >= threshold).sum() + true.sum())

    [chosen] = best_thresholds(scores[:, None], true[:, None])
    if not true.any():
        assert chosen == 0.5
    else:
        assert f1(chosen) == pytest.approx(max(f1(t) for t in np.arange(0, 1.06, 0.05)))
