"""Resampling the cells of the confusion matrix equals resampling rows."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from ftcli.metrics import bootstrap
from ftcli.metrics.report import classification


@pytest.fixture(scope="module")
def answers():
    rng = np.random.default_rng(7)
    true = rng.choice(4, size=400, p=[0.5, 0.3, 0.15, 0.05])
    return true, np.where(rng.random(400) < 0.7, true, rng.integers(0, 5, 400)), ["a", "b", "c", "d", "never true"]


def test_intervals_match_row_resampling(answers):
    true, predicted, names = answers
    ours = classification(true, predicted, names, bootstrap=1000, seed=1)["intervals"]
    rng = np.random.default_rng(2)
    by_rows = {name: [] for name in bootstrap.INTERVAL_METRICS}
    for _ in range(300):
        rows = rng.integers(0, len(true), len(true))
        by_rows["accuracy"].append(np.mean(true[rows] == predicted[rows]))
        for average in ("macro", "micro", "weighted"):
            p, r, f, _ = precision_recall_fscore_support(
                true[rows], predicted[rows], labels=range(5), average=average, zero_division=0
            )
            for name, value in ((f"precision_{average}", p), (f"recall_{average}", r), (f"f1_{average}", f)):
                by_rows.get(name, []).append(value)
    for name, values in by_rows.items():
        assert len(values) == 300
        low, high = np.percentile(values, (2.5, 97.5))
        assert ours[name] == pytest.approx((low, high), abs=0.25 * (high - low)), name


def test_statistics_of_a_resample_equal_the_metrics_themselves(answers):
    true, predicted, names = answers
    report = classification(true, predicted, names, bootstrap=0, seed=0)
    matrix = np.array(report["confusion_matrix"]["rows"])
    counts = matrix.diagonal()[None], matrix.sum(axis=1)[None], matrix.sum(axis=0)[None]
    for name, values in bootstrap._metrics(*counts).items():
        assert values[0] == pytest.approx(report["metrics"][name], abs=1e-12), name


def test_seed_decides_and_chunks_do_not_change_the_shape(answers, monkeypatch):
    matrix = np.array(classification(*answers, bootstrap=0, seed=0)["confusion_matrix"]["rows"])
    first = bootstrap.intervals(matrix, resamples=200, seed=3)
    assert bootstrap.intervals(matrix, resamples=200, seed=3) == first
    assert bootstrap.intervals(matrix, resamples=200, seed=4) != first
    monkeypatch.setattr(bootstrap, "_COUNTS_AT_ONCE", 100)
    assert bootstrap.intervals(matrix, resamples=200, seed=3) == first, "chunks draw from one stream"


def test_one_row_and_no_resamples():
    assert classification([0], [1], ["a", "b"], bootstrap=50, seed=0)["intervals"]["accuracy"] == (0.0, 0.0)
    assert classification([0], [0], ["a"], bootstrap=0, seed=0)["intervals"] == {}
