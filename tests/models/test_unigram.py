"""Unigram pieces, against all ways to write a word, one by one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcli.models import unigram
from ftcli.models.unigram import LONGEST_PIECE, Lattice, learn_pieces

PIECES = ["a", "b", "ab", "ba", "aba", "bb"]


def lattice(words: list[str]) -> Lattice:
    edges, first, last, node = [], [], [], 0
    for owner, word in enumerate(words):
        first.append(node)
        last.append(node + len(word))
        edges += [
            (node + start, node + start + len(piece), number, owner)
            for start in range(len(word))
            for number, piece in enumerate(PIECES)
            if word.startswith(piece, start)
        ]
        node += len(word) + 1
    columns = np.array(edges, dtype=np.int32).T
    return Lattice.of(np.array(first, dtype=np.int32), np.array(last, dtype=np.int32), *columns)


def ways(word: str) -> Iterator[list[int]]:
    if not word:
        yield []
    for number, piece in enumerate(PIECES):
        if word.startswith(piece):
            for rest in ways(word[len(piece) :]):
                yield [number, *rest]


@given(st.lists(st.text("ab", min_size=1, max_size=8), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_expected_uses_and_the_best_way_over_all_ways(words: list[str], seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, counts = np.log(random.uniform(0.01, 1, len(PIECES))), random.integers(1, 9, len(words)).astype(float)
    expected, best = np.zeros(len(PIECES)), []
    for word, count in zip(words, counts, strict=True):
        found = list(ways(word))
        weights = np.exp([sum(scores[number] for number in way) for way in found])
        best.append(math.log(weights.max()))
        for way, weight in zip(found, weights / weights.sum(), strict=True):
            for number in way:
                expected[number] += weight * count
    made = lattice(words)
    np.testing.assert_allclose(made.expected(scores, counts), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(made.best(scores), best, rtol=1e-9)
    # Without one piece, and without the words that are one.
    stays = np.array([piece != "ab" for piece in PIECES])
    fewer = made.keep(stays)
    assert len(fewer.pieces) == sum(PIECES[number] != "ab" for number in made.pieces)
    assert np.all(fewer.best(scores[stays]) <= made.best(scores) + 1e-12)


@given(st.lists(st.text("abcde", min_size=1, max_size=12), min_size=1, max_size=40), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_pieces_are_a_distribution_over_at_most_so_many(words: list[str], size: int) -> None:
    letters = sorted({*"".join(words), "z"})  # one that does not occur
    counts = Counter(words)
    pieces = learn_pieces(counts, letters, size)
    assert pieces == learn_pieces(dict(counts), letters, size)
    assert len(letters) <= len(pieces) <= max(size, len(letters))
    assert set(letters) <= {piece for piece, _ in pieces}
    assert len({piece for piece, _ in pieces}) == len(pieces)
    assert all(len(piece) <= LONGEST_PIECE and any(piece in word for word in [*words, "z"]) for piece, _ in pieces)
    scores = [score for _, score in pieces]
    assert scores == sorted(scores, reverse=True)
    assert sum(map(math.exp, scores)) <= 1 + 1e-4


def test_words_seen_often_become_pieces() -> None:
    words = {"▁the": 50, "▁then": 20, "▁sing": 30, "▁singing": 30, "▁running": 30, "▁run": 30, "▁thing": 10}
    letters = sorted(set("".join(words)))
    few, many = (dict(learn_pieces(words, letters, len(letters) + extra)) for extra in (3, 20))
    assert set(few) - set(letters) == {"▁the", "▁run", "▁sing"}
    assert {*words, "ing"} <= set(many)
    assert many["▁the"] > many["▁thing"] > many["h"]


def test_long_words_are_looked_at_in_stretches_and_the_rarest_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "世界和平" in dict(learn_pieces({"世界和平" * 100: 2}, ["世", "和", "平", "界"], 20))
    monkeypatch.setattr(unigram, "LETTERS_READ", 4)
    found = dict(learn_pieces({"abab": 1, "cdcd": 5}, ["a", "b", "c", "d"], 20))
    assert "cd" in found or "cdcd" in found
    assert set("ab") <= set(found)
    assert "ab" not in found
    assert learn_pieces({}, [], 20) == []
