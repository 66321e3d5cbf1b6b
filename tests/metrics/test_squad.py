"""Answers scored as SQuAD's script scores them, and the threshold below which none is given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcli.metrics import METRICS
from ftcli.metrics.squad import answers, best_threshold, normalized, scored


@pytest.mark.parametrize(
    ("answer", "references", "exact", "f1"),
    [
        ("The Denver Broncos!", ["Denver Broncos"], 1, 1),
        ("denver", ["Denver Broncos", "the broncos"], 0, 2 / 3),
        ("a b b c", ["b b d"], 0, 2 * (2 / 3 * 2 / 3) / (2 / 3 + 2 / 3)),  # the article a does not count
        ("in Rome", ["Paris"], 0, 0),
        ("", [], 1, 1),
        ("Rome", [], 0, 0),
        ("", ["Rome"], 0, 0),
        ("the", ["Rome"], 0, 0),
        ("rock-n-roll", ["rocknroll"], 1, 1),  # punctuation goes without leaving a space
        ("3.5%", ["35"], 1, 1),
        ("theatre", ["atre"], 0, 0),  # articles are whole words
        ("北京大学", ["北京"], 0, 2 * (0.5 * 1) / 1.5),
    ],
)
def test_by_hand(answer: str, references: list[str], exact: float, f1: float) -> None:
    assert scored(answer, references) == pytest.approx((exact, f1))


@given(st.text(), st.text())
def test_normal_form_and_symmetry(one: str, other: str) -> None:
    assert "  " not in normalized(one)
    assert scored(one, [one]) == (1, 1)
    if normalized(one) and normalized(other):
        assert scored(one, [one, other]) == (1, 1)
        assert scored(one, [other]) == pytest.approx(scored(other, [one]))


def test_means_with_and_without_questions_that_have_no_answer() -> None:
    found = answers(
        ["Rome", "", "x", "a cat"], [["rome"], [], [], ["cat", "dog"]], no_answer=True, bootstrap=50, seed=1
    )
    assert found["metrics"] == pytest.approx(
        {"exact_match": 0.75, "f1": 0.75, "exact_match_answerable": 1, "f1_answerable": 1, "accuracy_unanswerable": 0.5}
    )
    low, high = found["intervals"]["f1"]
    assert 0 <= low < 0.75 < high <= 1
    assert METRICS.part("answer_scores")().compute(predictions=[["a cat"], []], references=[["cat"], ["dog"]]) == {
        "exact_match": 0.5, "f1": 0.5,
    }  # fmt: skip


def test_threshold() -> None:
    assert best_threshold([0.1, 0.4, 0.8], [1, 0.9, 0], [0, 0, 1]) == pytest.approx(0.6)
    assert best_threshold([0.1, 0.4], [0.1, 0.2], [0, 0]) == 1, "answering always is best"
    assert best_threshold([0.5, 0.5], [0, 1], [1, 0]) == 1, "equal ones together"
    assert best_threshold([0.3, 0.6], [0, 0], [1, 1]) == 0


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans()), min_size=1, max_size=12))
def test_no_other_threshold_is_better(rows: list[tuple[float, float, bool]]) -> None:
    def value(threshold: float) -> float:
        return sum((none if share > threshold else f1 * (not none)) for share, f1, none in rows)

    shares, f1, none = zip(*rows, strict=True)
    chosen = best_threshold(shares, [f * (not n) for f, n in zip(f1, none, strict=True)], none)
    assert value(chosen) == pytest.approx(max(value(t) for t in (*shares, 0.0, 1.0)))
