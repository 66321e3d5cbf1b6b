"""McNemar's test by hand, and a bootstrap whose resamples two models share."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2
from sklearn.metrics import precision_recall_fscore_support

from ftcli.metrics import paired
from ftcli.metrics.bootstrap import INTERVAL_METRICS, on_resamples


def answers(both: int, first: int, second: int, neither: int) -> tuple[list[bool], list[bool]]:
    return (
        [True] * (both + first) + [False] * (second + neither),
        [True] * both + [False] * first + [True] * second + [False] * neither,
    )


@pytest.mark.parametrize(
    ("first", "second", "p_value"),
    [
        (0, 0, 1.0),
        (5, 5, 1.0),
        (0, 1, 1.0),
        (0, 6, 2 / 64),
        (1, 9, 2 * (1 + 10) / 1024),
        (9, 1, 2 * (1 + 10) / 1024),
        (2, 8, 2 * (1 + 10 + 45) / 1024),
    ],
)
def test_mcnemar_by_hand(first: int, second: int, p_value: float) -> None:
    found = paired.mcnemar(*answers(7, first, second, 3))
    assert found["p_value"] == pytest.approx(p_value, rel=1e-12)
    counts = [found[name] for name in ("both_right", "baseline_only", "run_only", "both_wrong")]
    assert counts == [7, first, second, 3]
    assert found["test"] == "exact binomial, two-sided"


def test_mcnemar_of_many_rows_is_exact_and_near_the_corrected_chi_square() -> None:
    first, second = 86, 150
    exact = 2 * sum(math.comb(236, k) for k in range(first + 1)) / 2**236
    found = paired.mcnemar(*answers(794, first, second, 570))["p_value"]
    assert found == pytest.approx(exact, rel=1e-9)
    corrected = chi2.sf((abs(first - second) - 1) ** 2 / (first + second), 1)
    assert found == pytest.approx(corrected, rel=0.15)


def test_mcnemar_wants_the_same_rows() -> None:
    with pytest.raises(ValueError, match="2 rows of one and 1 of the other"):
        paired.mcnemar([True, False], [True])


def test_resamples_have_as_many_rows_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(paired.draws(7, 50, seed=3)))
    assert whole.shape == (50, 7)
    assert (whole.sum(axis=1) == 7).all()
    monkeypatch.setattr(paired, "_COUNTS_AT_ONCE", 21)
    chunks = list(paired.draws(7, 50, seed=3))
    assert len(chunks) == 17
    assert (np.concatenate(chunks) == whole).all()
    assert (np.concatenate(list(paired.draws(7, 50, seed=4))) != whole).any()


def test_a_resample_scores_as_scikit_learn_scores_its_rows() -> None:
    rng = np.random.default_rng(0)
    true, said = rng.integers(0, 4, 60), rng.integers(0, 5, 60)
    counts = next(paired.draws(60, 5, seed=1))
    found = on_resamples(true, said, 5, counts)
    assert len(set(found) - set(INTERVAL_METRICS)) == 4
    for resample, times in enumerate(counts):
        rows = np.repeat(np.arange(60), times)
        for average in ("macro", "micro", "weighted"):
            expected = precision_recall_fscore_support(
                true[rows], said[rows], labels=range(5), average=average, zero_division=0
            )
            for name, value in zip(("precision", "recall", "f1"), expected[:3], strict=True):
                assert found[f"{name}_{average}"][resample] == pytest.approx(value, abs=1e-12)
        assert found["accuracy"][resample] == pytest.approx(np.mean(true[rows] == said[rows]), abs=1e-12)


def test_nothing_right_at_all() -> None:
    counts = next(paired.draws(4, 3, seed=0))
    found = on_resamples(np.zeros(4, int), np.ones(4, int), 2, counts)
    assert not any(values.any() for values in found.values())


def accuracy(right: np.ndarray) -> paired.Scorer:
    return lambda counts: {"accuracy": counts @ right / len(right)}


def test_the_spread_of_a_difference_is_that_of_its_formula() -> None:
    """Var = (b + c - (b - c)^2 / n) / n^2: far less than that of two independent samples, as rows are shared."""
    one, two = (np.array(side, dtype=float) for side in answers(300, 12, 28, 60))
    first, second = paired.resample([accuracy(one), accuracy(two)], 400, resamples=4000, seed=5)
    difference = second["accuracy"] - first["accuracy"]
    expected = math.sqrt(12 + 28 - (28 - 12) ** 2 / 400) / 400
    assert difference.std() == pytest.approx(expected, rel=0.05)
    low, high = paired.interval(difference) or (0, 0)
    assert (low, high) == pytest.approx((0.04 - 1.96 * expected, 0.04 + 1.96 * expected), abs=0.004)
    same = paired.resample([accuracy(one), accuracy(one)], 400, resamples=50, seed=5)
    assert not (same[0]["accuracy"] - same[1]["accuracy"]).any()


def test_no_interval_where_a_resample_has_no_value() -> None:
    assert paired.interval(np.array([0.1, math.nan])) is None
    assert paired.interval(np.array([])) is None
