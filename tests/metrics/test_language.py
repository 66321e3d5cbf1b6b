"""Figures of language models from sums, against what they mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcli.metrics.language import bits_per_byte, perplexity, unigram_baseline

COUNTS = st.lists(st.integers(0, 10_000), min_size=2, max_size=40)


def test_perplexity_of_a_uniform_guess_is_the_number_of_choices() -> None:
    assert perplexity(math.log(50)) == pytest.approx(50)
    assert perplexity(0.0) == 1.0
    assert perplexity(1e4) == math.inf
    assert math.isnan(perplexity(math.nan))


def test_bits_per_byte_of_uniform_bytes_is_eight() -> None:
    assert bits_per_byte(100 * math.log(256), 100) == pytest.approx(8)
    assert math.isnan(bits_per_byte(0.0, 0))


def test_unigram_baseline_by_hand() -> None:
    # Of 3 + 1 tokens and a vocabulary of 3: probabilities 4/7, 2/7, 1/7.
    assert unigram_baseline([3, 1, 0], [1, 0, 1]) == pytest.approx(-(math.log(4 / 7) + math.log(1 / 7)) / 2)
    assert unigram_baseline([0, 0, 0, 0], [5, 0, 0, 1]) == pytest.approx(math.log(4)), "nothing seen: a uniform guess"
    assert math.isnan(unigram_baseline([1, 2], [0, 0]))


@given(counts=COUNTS, other=COUNTS)
def test_unigram_baseline_is_a_cross_entropy(counts: list[int], other: list[int]) -> None:
    size = min(len(counts), len(other))
    seen, scored = np.array(counts[:size]), np.array(other[:size])
    found = unigram_baseline(seen, scored)
    if not scored.sum():
        assert math.isnan(found)
        return
    shares = scored[scored > 0] / scored.sum()
    entropy = float(-(shares * np.log(shares)).sum())
    assert entropy - 1e-9 <= found <= math.log(seen.sum() + size) + 1e-9
    assert unigram_baseline(seen, 7 * scored) == pytest.approx(found), "the size of what is scored does not matter"


def test_unigram_baseline_nears_the_entropy_of_a_large_corpus() -> None:
    shares = np.array([0.5, 0.25, 0.25])
    assert unigram_baseline(shares * 4e8) == pytest.approx(1.5 * math.log(2), abs=1e-6)


@pytest.mark.parametrize(("seen", "scored"), [([1, -1], [1, 1]), ([1, 1], [1]), ([[1]], [[1]]), ([1], [math.nan])])
def test_counts_that_are_none_are_refused(seen: list[float], scored: list[float]) -> None:
    with pytest.raises(ValueError, match=r"count|number"):
        unigram_baseline(seen, scored)
