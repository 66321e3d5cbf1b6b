"""A unigram language model over pieces of words, learnt from counted words.

Kudo 2018, "Subword Regularization" (arXiv:1804.10959), section 3.2: start from the frequent substrings, weigh them by
expectation-maximisation, leave out those that are missed least, and again until few enough are left. The library's own
trainer goes through the words as its hash table happens to hold them, and so ends with other scores, and at ties with
other pieces, every time; here the same words in the same order give the same pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

LONGEST_PIECE = 16
LONGEST_STRETCH = 64
"""Letters looked at together; longer words (sentences, in scripts without spaces) are cut here."""
LETTERS_READ = 2_000_000
"""Letters of distinct words, the most frequent ones, that pieces are learnt from."""
SEEDS = 16
"""Substrings to start from, for each piece wanted."""
SHRINK = 0.75
ROUNDS = 2
"""Rounds of expectation-maximisation between two prunings."""
LEAST = 0.5
"""Times a piece must be expected in the text to stay."""

Ints = NDArray[np.int32]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def learn_pieces(words: Mapping[str, int], letters: Sequence[str], size: int) -> list[tuple[str, float]]:
    """At most `size` pieces and the logarithms of their probabilities, the likeliest first.

    Args:
        words: Stretches of text that no piece goes beyond, and how often each occurs; all written with `letters`.
        letters: Are pieces in any case, even where they alone are more than `size`; sorted.
        size: Pieces wanted.
    """
    if not words:
        return []
    text = _Text.of(words, letters)
    pieces = _seeds(text, letters, SEEDS * size)
    size = max(size, len(letters))
    while True:
        for _ in range(ROUNDS):
            expected = pieces.lattice.expected(pieces.scores, text.counts)
            # A letter stays whatever its count: without it some word could not be written.
            stays = pieces.is_letter | (expected >= LEAST)
            pieces = pieces.keep(stays).weighed(np.maximum(expected[stays], LEAST))
        if len(pieces.spelled) <= size:
            break
        expected = pieces.lattice.expected(pieces.scores, text.counts)
        # What the likelihood would lose, were each piece written with the best of the others.
        loss = np.full(len(expected), np.inf)
        np.multiply(expected, pieces.scores - pieces.inside.best(pieces.scores), out=loss, where=~pieces.is_letter)
        stays = np.zeros(len(loss), dtype=np.bool_)
        stays[np.argsort(-loss, kind="stable")[: max(size, int(SHRINK * len(loss)))]] = True
        pieces = pieces.keep(stays)
    # The last digits are the machine's.
    scored = zip(pieces.spelled, np.round(pieces.scores, 6).tolist(), strict=True)
    return sorted(scored, key=lambda piece: (-piece[1], piece[0]))


@dataclass(frozen=True)
class _Text:
    """Words side by side, each with a node before every letter and one at its end."""

    letters: Ints
    """(nodes,) the letter after each node, by its number; -1 at the end of a word."""
    first: Ints
    """(words,) the first node of each word."""
    last: Ints
    counts: Floats
    """(words,)"""

    @classmethod
    def of(cls, words: Mapping[str, int], letters: Sequence[str]) -> _Text:
        stretches: list[str] = []
        counts: list[int] = []
        read = 0
        for word, count in sorted(words.items(), key=lambda item: -item[1]):
            if read >= LETTERS_READ:
                break
            read += len(word)
            for start in range(0, len(word), LONGEST_STRETCH):
                stretches.append(word[start : start + LONGEST_STRETCH])
                counts.append(count)
        ends = np.cumsum([len(stretch) + 1 for stretch in stretches], dtype=np.int32) - 1
        known = _points("".join(letters))
        found = np.searchsorted(known, _points("\0".join([*stretches, ""]))).astype(np.int32)
        found[ends] = -1
        return cls(found, np.concatenate([[0], ends[:-1] + 1]).astype(np.int32), ends, np.array(counts, dtype=float))


def _points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)


@dataclass(frozen=True)
class Lattice:
    """All ways to write some strings with pieces: edges from node to node, in the order in which they can be passed."""

    first: Ints
    """(strings,) the first node of each."""
    last: Ints
    sources: Ints
    """(edges,)"""
    targets: Ints
    pieces: Ints
    owners: Ints
    """(edges,) the string each edge is part of."""

    @classmethod
    def of(cls, first: Ints, last: Ints, sources: Ints, targets: Ints, pieces: Ints, owners: Ints) -> Lattice:
        order = np.argsort((sources - first[owners]) * (LONGEST_PIECE + 1) + targets - sources, kind="stable")
        return cls(first, last, sources[order], targets[order], pieces[order], owners[order])

    def keep(self, stays: Bools, strings: Bools | None = None) -> Lattice:
        """Without the edges of pieces that do not stay, the others numbered anew; so too with the strings."""
        edges = stays[self.pieces]
        first, last, owners = self.first, self.last, self.owners
        if strings is not None:
            edges &= strings[owners]
            first, last, owners = first[strings], last[strings], _numbers(strings)[owners]
        kept = (self.sources[edges], self.targets[edges], _numbers(stays)[self.pieces[edges]], owners[edges])
        return Lattice(first, last, *kept)

    def expected(self, scores: Floats, counts: Floats) -> Floats:
        """(pieces,) how often each is used over all strings, that occur `counts` times, in all ways to write them."""
        weights = scores[self.pieces]
        before = self._pass(weights, self.first, self.sources, self.targets, np.logaddexp)
        after = self._pass(weights, self.last, self.targets, self.sources, np.logaddexp, backwards=True)
        shares = before[self.sources] + weights + after[self.targets] - before[self.last][self.owners]
        return _sums(self.pieces, np.exp(shares) * counts[self.owners], len(scores))

    def best(self, scores: Floats) -> Floats:
        """(strings,) the score of the likeliest way to write each; -inf where there is none."""
        return self._pass(scores[self.pieces], self.first, self.sources, self.targets, np.maximum)[self.last]

    def _pass(
        self,
        weights: Floats,
        start: Ints,
        sources: Ints,
        targets: Ints,
        add: Callable[..., Any],
        backwards: bool = False,
    ) -> Floats:
        """(nodes,) the sum by `add` over the ways to each node from `start`."""
        total = np.full(int(self.last.max(initial=-1)) + 1, -np.inf)
        total[start] = 0.0
        # Edges of the same length from the same place of their strings never meet in a node.
        for edges in self._groups(backwards):
            to = targets[edges]
            total[to] = add(total[to], total[sources[edges]] + weights[edges])
        return total

    def _groups(self, backwards: bool) -> Iterator[slice]:
        place = (self.sources - self.first[self.owners]) * (LONGEST_PIECE + 1) + self.targets - self.sources
        bounds = [0, *(1 + np.flatnonzero(np.diff(place))).tolist(), len(place)]
        slices = [slice(low, high) for low, high in pairwise(bounds) if low < high]
        return iter(slices[::-1] if backwards else slices)


def _sums(numbers: Ints, values: Floats, size: int) -> Floats:
    """(size,) the sum of the `values` under each number."""
    return np.bincount(numbers, values, minlength=size).astype(np.float64, copy=False)


def _numbers(stays: Bools) -> Ints:
    """New numbers for those that stay."""
    return (np.cumsum(stays) - 1).astype(np.int32)


@dataclass(frozen=True)
class _Pieces:
    """Pieces with their scores, the ways to write the text with them, and each with the others."""

    spelled: list[str]
    is_letter: Bools
    scores: Floats
    lattice: Lattice
    inside: Lattice

    def keep(self, stays: Bools) -> _Pieces:
        spelled = [piece for piece, kept in zip(self.spelled, stays.tolist(), strict=True) if kept]
        lattice, inside = self.lattice.keep(stays), self.inside.keep(stays, stays)
        return _Pieces(spelled, self.is_letter[stays], self.scores[stays], lattice, inside)

    def weighed(self, expected: Floats) -> _Pieces:
        """With scores of pieces expected so often; rare ones get less than their share, as under a sparse prior."""
        both = torch.from_numpy(np.append(expected, expected.sum())).digamma().numpy()
        return replace(self, scores=both[:-1] - both[-1])


@dataclass(frozen=True)
class _Level:
    """Substrings of one length, by number."""

    length: int
    at: Ints
    """(places,) the nodes where one begins."""
    numbers: Ints
    """(places,) which."""
    counts: Floats
    """(substrings,)"""
    once: Ints
    """(substrings,) a node where it begins."""
    prefixes: Ints
    """(substrings,) the substring of the level before that it begins with."""


def _levels(text: _Text, letters: int) -> Iterator[_Level]:
    """Substrings by length, from single letters on, as far as any occurs twice."""
    size = text.last - text.first + 1
    weights, last = np.repeat(text.counts, size), np.repeat(text.last, size)
    at = np.flatnonzero(text.letters >= 0).astype(np.int32)
    numbers, nothing = text.letters[at], np.zeros(letters, dtype=np.int32)
    counts = _sums(numbers, weights[at], letters)
    yield _Level(1, at, numbers, counts, nothing, nothing)
    for length in range(2, LONGEST_PIECE + 1):
        goes_on = (counts[numbers] >= 2) & (last[at] - at >= length)
        at, before = at[goes_on], numbers[goes_on].astype(np.int64)
        if not len(at):
            return
        keys = before * letters + text.letters[at + length - 1]
        _, once, inverse = np.unique(keys, return_index=True, return_inverse=True)
        numbers = inverse.astype(np.int32)
        counts = _sums(numbers, weights[at], len(once))
        yield _Level(length, at, numbers, counts, at[once], before[once].astype(np.int32))


def _seeds(text: _Text, letters: Sequence[str], limit: int) -> _Pieces:
    """The letters, and of the substrings that occur twice the `limit` that hold most of the text."""
    levels = list(_levels(text, len(letters)))
    worth = [level.counts * level.length * (level.counts >= 2) for level in levels]
    for shorter, longer in pairwise(levels):
        # One that always goes on with the same letter is no use beside the longer one.
        same = longer.counts == shorter.counts[longer.prefixes]
        worth[shorter.length - 1][longer.prefixes[same]] = 0.0
    flat = np.concatenate([levels[0].counts * 0, *worth[1:]])
    chosen = np.argsort(-flat, kind="stable")[: min(limit, int((flat > 0).sum()))]
    number = np.full(len(flat), -1, dtype=np.int32)
    number[: len(letters)] = np.arange(len(letters))
    number[chosen] = np.arange(len(letters), len(letters) + len(chosen))

    sources, targets, pieces = [], [], []
    offset = 0
    for level in levels:
        found = number[offset + level.numbers]
        sources.append(level.at[found >= 0])
        targets.append(sources[-1] + np.int32(level.length))
        pieces.append(found[found >= 0])
        offset += len(level.counts)
    edges = (np.concatenate(sources), np.concatenate(targets), np.concatenate(pieces))
    del sources, targets, pieces
    lengths = np.repeat([level.length for level in levels], [len(level.counts) for level in levels])[chosen]
    begins = np.concatenate([level.once for level in levels])[chosen]
    spelled = [*letters]
    for begin, length in zip(begins.tolist(), lengths.tolist(), strict=True):
        spelled.append("".join(letters[i] for i in text.letters[begin : begin + length]))
    scores = np.log(np.concatenate([np.maximum(levels[0].counts, LEAST), flat[chosen]]))
    is_letter = np.arange(len(spelled)) < len(letters)
    del levels
    inside = _inside(*edges, np.append(np.zeros(len(letters), dtype=np.int32), begins), np.array([*map(len, spelled)]))
    words = np.repeat(np.arange(len(text.first), dtype=np.int32), text.last - text.first + 1)
    lattice = Lattice.of(text.first, text.last, *edges, words[edges[0]])
    return _Pieces(spelled, is_letter, scores - np.log(np.exp(scores).sum()), lattice, inside)


def _inside(sources: Ints, targets: Ints, pieces: Ints, begins: Ints, lengths: Ints) -> Lattice:
    """Ways to write each piece with others: those of the place in the text where it begins."""
    order = np.argsort(sources, kind="stable")
    sources, targets, pieces = sources[order], targets[order], pieces[order]
    low, high = np.searchsorted(sources, begins), np.searchsorted(sources, begins + lengths)
    low[lengths == 1] = high[lengths == 1]  # a letter cannot be written otherwise
    owners = np.repeat(np.arange(len(begins), dtype=np.int32), high - low)
    edges = np.arange(len(owners)) - np.repeat(np.cumsum(high - low) - high, high - low)
    shift = (np.cumsum(lengths + 1) - (lengths + 1) - begins)[owners]
    last = np.cumsum(lengths + 1) - 1
    first = last - lengths
    sources, targets, pieces = sources[edges] + shift, targets[edges] + shift, pieces[edges]
    others = (targets <= last[owners]) & (pieces != owners)
    kept = (part[others].astype(np.int32) for part in (sources, targets, pieces, owners))
    return Lattice.of(first.astype(np.int32), last.astype(np.int32), *kept)
