"""BLEU, chrF and ROUGE: the reference libraries' numbers, and sums that make the same ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from ftcli.metrics.written import _bleu_rows, _chrf_rows, bleu_of, chrf_of, words_of, written

WORDS = ["the", "cat", "sat", "on", "a", "mat", ".", "isn't", "für", "3.5", "(red)", "猫", "“hm”"]
text = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
pairs = st.lists(st.tuples(text, text.filter(bool)), min_size=1, max_size=6)
FACTS = {"tokenize": "13a", "bootstrap": 0, "seed": 0}


@settings(max_examples=150, deadline=None)
@given(pairs)
def test_scores_are_the_libraries_and_sums_make_the_same(found: list[tuple[str, str]]) -> None:
    given_texts, true = [list(side) for side in zip(*found, strict=True)]
    metrics = written(given_texts, true, ("bleu", "rouge"), **FACTS)["metrics"]  # type: ignore[arg-type]
    bleu = BLEU(tokenize="13a").corpus_score(given_texts, [true]).score
    chrf = CHRF().corpus_score(given_texts, [true]).score
    assert metrics["bleu"] == pytest.approx(bleu, abs=1e-9)
    assert metrics["chrf"] == pytest.approx(chrf, abs=1e-9)
    assert bleu_of(_bleu_rows(given_texts, true, "13a").sum(0)[None])[0] == pytest.approx(bleu, abs=1e-7)
    assert chrf_of(_chrf_rows(given_texts, true).sum(0)[None])[0] == pytest.approx(chrf, abs=1e-7)
    if words_of(true) == "13a":
        scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
        for name in ("rouge1", "rouge2", "rougeL"):
            each = [scorer.score(r, p)[name].fmeasure for p, r in found]
            assert metrics[name] == pytest.approx(np.mean(each), abs=1e-12)


def test_by_hand() -> None:
    """Four of five words right, in a row: precisions 4/5, 3/4, 2/3, 1/2; nothing is too short."""
    found = written(["a b c d x"], ["a b c d e"], ("bleu", "rouge"), **FACTS)  # type: ignore[arg-type]
    assert found["metrics"]["bleu"] == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    assert found["metrics"]["rouge1"] == pytest.approx(0.8)
    assert found["metrics"]["rouge2"] == pytest.approx(0.75)
    assert "tok:13a" in found["details"]["bleu"]


def test_intervals_hold_the_score_and_shrink_with_rows() -> None:
    chance = np.random.default_rng(0)
    true = [" ".join(chance.choice(WORDS[:6], 8)) for _ in range(200)]
    said = [t if i % 3 else " ".join(chance.choice(WORDS[:6], 8)) for i, t in enumerate(true)]
    sizes = {}
    for rows in (20, 200):
        kinds = ("bleu", "rouge")
        found = written(said[:rows], true[:rows], kinds, tokenize="13a", bootstrap=300, seed=1)
        assert set(found["intervals"]) == set(found["metrics"]) == {"bleu", "chrf", "rouge1", "rouge2", "rougeL"}
        for name, (low, high) in found["intervals"].items():
            assert low < found["metrics"][name] < high
        low, high = found["intervals"]["bleu"]
        sizes[rows] = high - low
    assert sizes[200] < 0.6 * sizes[20]


@pytest.mark.parametrize(
    ("texts", "way"),
    [
        (["ein Hund, 犬"], "13a"),
        (["一只狗在草地上跑。"], "zh"),
        (["犬が芝生の上を走っている。"], "char"),
        ([""], "13a"),
    ],
)
def test_texts_without_spaces_are_cut_into_letters(texts: list[str], way: str) -> None:
    assert words_of(texts) == way


def test_chinese_has_scores() -> None:
    found = written(["一只狗在草地上走"], ["一只狗在草地上跑"], ("bleu", "rouge"), tokenize="auto", bootstrap=0, seed=0)
    assert found["metrics"]["bleu"] > 60
    assert found["metrics"]["rouge1"] == pytest.approx(7 / 8)
    assert "tok:zh" in found["details"]["bleu"]


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match="no text"):
        written([None], ["a"], ("bleu",), **FACTS)  # type: ignore[arg-type, list-item]
    with pytest.raises(ValueError, match="empty"):
        written([], [], ("rouge",), **FACTS)  # type: ignore[arg-type]
