"""Error rates of transcripts: by hand, and the same numbers as jiwer's."""

from __future__ import annotations

import math
import random

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcli.metrics.transcripts import TranscriptErrors, edits, transcripts

TEXTS = st.lists(st.sampled_from(["a", "bc", "bcd", "déjà", "电影", "e"]), max_size=6).map(" ".join)


def test_by_hand() -> None:
    assert edits("kitten", "sitting") == 3
    assert edits("", "abc") == edits("abc", "") == 3
    found = TranscriptErrors().compute(predictions=["a b c", "d"], references=["a x c", "d e"])
    assert found == {"wer": 2 / 5, "cer": 3 / 8, "exact": 0}


@given(TEXTS, TEXTS)
def test_edits_are_symmetric_and_bounded(first: str, second: str) -> None:
    distance = edits(first, second)
    assert distance == edits(second, first)
    assert abs(len(first) - len(second)) <= distance <= max(len(first), len(second))
    assert (distance == 0) == (first == second)


def test_as_jiwer() -> None:
    chance = random.Random(5)
    words = ["one", "two", "three", "tow", "thee", "für", "电影"]
    for _ in range(200):
        true = [" ".join(chance.choices(words, k=chance.randint(1, 7))) for _ in range(4)]
        told = [" ".join(word for word in text.split() if chance.random() < 0.8) or "one" for text in true]
        told[0] = " ".join([*told[0].split(), chance.choice(words)])
        found = TranscriptErrors().compute(predictions=told, references=true)
        assert found["wer"] == pytest.approx(jiwer.wer(true, told), abs=1e-12)
        assert found["cer"] == pytest.approx(jiwer.cer(true, told), abs=1e-12)


def test_intervals_and_texts_without_words() -> None:
    found = transcripts(["a b", "c"] * 10, ["a x", "c"] * 10, bootstrap=200, seed=1)
    for name, value in found["metrics"].items():
        low, high = found["intervals"][name]
        assert low < value < high
    assert math.isnan(TranscriptErrors().compute(predictions=["a"], references=[""])["wer"])
    with pytest.raises(ValueError, match="not a text"):
        TranscriptErrors().compute(predictions=[None], references=["a"])
