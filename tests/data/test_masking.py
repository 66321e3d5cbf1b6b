"""What is hidden from a model, by draws that a generator decides."""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcli.data.masking import corrupted_lengths, infill, mask_tokens, restore, span_corruption

MASK, FIRST_ORDINARY, VOCABULARY = 4, 5, 1000
CANDIDATES = np.arange(FIRST_ORDINARY, VOCABULARY)
STYLES = ["token", "whole-word", "span"]


def text(seed: int, tokens: int, specials: float = 0.05, pieces: float = 0.3) -> tuple[Any, Any, Any]:
    """Ids, where special tokens lie, where words begin."""
    random = np.random.default_rng(seed)
    ids = random.integers(FIRST_ORDINARY, VOCABULARY, tokens, dtype=np.int32)
    special = random.random(tokens) < specials
    ids[special] = random.integers(0, MASK, int(special.sum()))
    return ids, special, random.random(tokens) >= pieces


def words(special: Any, begins: Any) -> list[list[int]]:
    found: list[list[int]] = []
    for place in range(len(special)):
        if special[place]:
            continue
        if begins[place] or place == 0 or special[place - 1]:
            found.append([])
        found[-1].append(place)
    return found


def mask(seed: int, given: tuple[Any, Any, Any], style: Any, rate: float) -> tuple[Any, Any, Any]:
    random = np.random.default_rng(seed)
    return mask_tokens(*given, random, rate=rate, style=style, mask_id=MASK, candidates=CANDIDATES)


@given(st.integers(0, 10**6), st.integers(0, 60), st.floats(0.01, 1), st.sampled_from(STYLES), st.floats(0, 0.9))
@settings(max_examples=300, deadline=None)
def test_what_holds_of_every_draw(seed: int, tokens: int, rate: float, style: str, pieces: float) -> None:
    given_text = text(seed, tokens, 0.2, pieces)
    ids, special, begins = given_text
    before = ids.copy()
    corrupted, places, originals = mask(seed, given_text, style, rate)
    assert np.array_equal(ids, before)
    assert corrupted.dtype == ids.dtype
    assert not special[places].any()
    assert np.array_equal(originals, ids[places])
    assert (np.diff(places) > 0).all()
    elsewhere = np.setdiff1d(np.arange(tokens), places)
    assert np.array_equal(corrupted[elsewhere], ids[elsewhere])
    assert ((corrupted[places] == MASK) | (corrupted[places] >= FIRST_ORDINARY)).all()
    again = mask(seed, given_text, style, rate)
    assert all(np.array_equal(a, b) for a, b in zip(again, (corrupted, places, originals), strict=True))
    maskable = int((~special).sum())
    budget = min(max(1, round(rate * maskable)), maskable)
    if style == "token":
        assert len(places) == budget
        return
    chosen = set(places.tolist())
    whole = [word for word in words(special, begins) if chosen & set(word)]
    assert all(chosen >= set(word) for word in whole)
    assert len(places) <= budget or len(whole) == 1, "more than asked for only where the first word is too long"
    assert len(places) > 0 or maskable == 0
    left = budget - len(places)
    assert not any(len(w) <= left for w in words(special, begins) if not chosen & set(w)), "no word that fits is left"


@pytest.mark.parametrize("style", STYLES)
def test_eight_in_ten_become_the_mask_and_one_in_ten_another_token(style: str) -> None:
    hidden = swapped = kept = 0
    for seed in range(200):
        given_text = text(seed, 400)
        corrupted, places, originals = mask(seed, given_text, style, 0.15)
        now = corrupted[places]
        hidden += int((now == MASK).sum())
        kept += int((now == originals).sum())
        swapped += int(((now != MASK) & (now != originals)).sum())
    total = hidden + swapped + kept
    assert total > 200 * 400 * 0.95 * 0.15 * 0.95
    independent = total / 6 if style == "span" else total  # tokens of a span share their fate
    for found, share in ((hidden, 0.8), (swapped, 0.1), (kept, 0.1)):
        assert abs(found / total - share) < 5 * (share * (1 - share) / independent) ** 0.5


@pytest.mark.parametrize("style", STYLES)
def test_every_token_is_as_likely_to_be_chosen(style: str) -> None:
    """Words of one token each; spans start anywhere, so the edges aside."""
    given_text = text(0, 60, 0.0, 0.0)
    times = np.zeros(60)
    draws = 4000
    for seed in range(draws):
        times[mask(seed, given_text, style, 0.15)[1]] += 1
    assert times.sum() == draws * 9
    middle = times[12:-12] if style == "span" else times
    expected = middle.mean()
    assert np.abs(middle - expected).max() < 5 * (expected * (1 - expected / draws)) ** 0.5


def test_spans_are_runs_of_words_as_long_as_in_spanbert() -> None:
    """Geometric with p = 0.2 up to ten words, 3.8 on average, and one fate for each; few meet at so low a rate."""
    given_text = text(1, 4000, 0.0, 0.0)
    lengths: list[int] = []
    same_fate: list[bool] = []
    for seed in range(60):
        corrupted, places, originals = mask(seed, given_text, "span", 0.05)
        hidden, kept = corrupted[places] == MASK, corrupted[places] == originals
        for run in np.split(np.arange(len(places)), np.flatnonzero(np.diff(places) > 1) + 1):
            lengths.append(len(run))
            same_fate.extend((hidden[run] == hidden[run[0]]) & (kept[run] == kept[run[0]]))
    assert np.mean(same_fate) > 0.93  # 0.75 where every token had its own
    expected = np.array([0.2 * 0.8**n for n in range(10)])
    expected /= expected.sum()
    mean = float((expected * np.arange(1, 11)).sum())
    assert mean == pytest.approx(3.8, abs=0.01)
    assert np.mean(lengths) == pytest.approx(mean, rel=0.15)
    share = np.bincount([n for n in lengths if n <= 10], minlength=11)[1:] / len(lengths)
    assert np.abs(share - expected).max() < 0.04


def test_a_span_ends_at_a_special_token() -> None:
    ids, _, begins = text(2, 40, 0.0, 0.0)
    special = np.zeros(40, bool)
    special[::2] = True
    for seed in range(50):
        _, places, _ = mask(seed, (ids, special, begins), "span", 0.1)
        assert len(places) == 2
        assert not special[places].any()


# Denoising ----------------------------------------------------------------------------------------------------

EOS = 1
SENTINELS = np.arange(VOCABULARY + 99, VOCABULARY - 1, -1)


def ordinary(seed: int, tokens: int) -> Any:
    return np.random.default_rng(seed).integers(FIRST_ORDINARY, VOCABULARY, tokens, dtype=np.int32)


@given(st.integers(0, 10**6), st.integers(0, 80), st.floats(0.01, 0.99), st.floats(1, 8), st.integers(2, 30))
@settings(max_examples=300, deadline=None)
def test_corrupted_spans_are_restored(seed: int, tokens: int, rate: float, mean_span: float, sentinels: int) -> None:
    ids, named = ordinary(seed, tokens), SENTINELS[:sentinels]
    options: Any = {"rate": rate, "mean_span": mean_span, "sentinels": named, "eos": EOS}
    inputs, targets = span_corruption(ids, np.random.default_rng(seed), **options)
    assert inputs.dtype == targets.dtype == ids.dtype
    assert inputs[-1] == targets[-1] == EOS
    assert np.array_equal(restore(inputs, targets, named, EOS), ids)
    lengths = corrupted_lengths(tokens, rate=rate, mean_span=mean_span, sentinels=sentinels)
    assert (len(inputs), len(targets)) == lengths
    hidden = int((~np.isin(targets, named)).sum()) - 1
    assert hidden == min(max(1, round(tokens * rate)), max(tokens - 1, 1), tokens)
    used = inputs[np.isin(inputs, named)]
    assert np.array_equal(used, named[: len(used)]), "sentinels in their order"
    assert np.array_equal(targets[np.isin(targets, named)], named[: len(used) + 1]), "and one that ends the targets"
    if tokens > 1:
        joined = np.isin(inputs, named)
        assert not (joined[1:] & joined[:-1]).any(), "a token between two spans"
    again = span_corruption(ids, np.random.default_rng(seed), **options)
    assert all(np.array_equal(a, b) for a, b in zip(again, (inputs, targets), strict=True))


def test_the_paper_s_figures_and_no_place_is_special() -> None:
    tokens, draws = 512, 3000
    assert corrupted_lengths(tokens, rate=0.15, mean_span=3, sentinels=100) == (512 - 77 + 26 + 1, 77 + 26 + 2)
    ids, times = np.arange(FIRST_ORDINARY, FIRST_ORDINARY + 100), np.zeros(100)
    for seed in range(draws):
        inputs, _ = span_corruption(
            ids, np.random.default_rng(seed), rate=0.15, mean_span=3, sentinels=SENTINELS, eos=EOS
        )
        times[np.setdiff1d(ids, inputs) - FIRST_ORDINARY] += 1
    assert times.sum() == 15 * draws
    assert np.abs(times[5:-5] / draws - 0.15).max() < 0.04
    assert (times[[0, -1]] / draws > 0.05).all()


def test_answers_of_a_model_fill_what_they_name() -> None:
    a, b, c = SENTINELS[:3].tolist()
    inputs = np.array([10, a, 11, b, 12, EOS])
    for answer, filled in (
        ([a, 20, 21, b, 22, c, EOS, 9], [10, 20, 21, 11, 22, 12]),
        ([b, 22], [10, 11, 22, 12]),
        ([], [10, 11, 12]),
        ([7, a, 20, a, 8, b, 22], [10, 20, 11, 22, 12]),
    ):
        assert restore(inputs, np.array(answer, dtype=int), SENTINELS, EOS).tolist() == filled


@given(st.integers(0, 10**6), st.integers(0, 80), st.floats(0, 1), st.floats(0.5, 8))
@settings(max_examples=300, deadline=None)
def test_infilling_hides_what_was_asked_for_and_keeps_the_order(
    seed: int, tokens: int, rate: float, mean_span: float
) -> None:
    ids = np.arange(FIRST_ORDINARY, FIRST_ORDINARY + tokens, dtype=np.int32)
    options: Any = {"rate": rate, "mean_span": mean_span, "mask_id": MASK}
    inputs = infill(ids, np.random.default_rng(seed), **options)
    assert inputs.dtype == ids.dtype
    kept = inputs[inputs != MASK]
    assert len(kept) == tokens - round(rate * tokens)
    assert (np.diff(kept) > 0).all()
    masks = inputs == MASK
    if masks.sum() <= len(kept) + 1:
        assert not (masks[1:] & masks[:-1]).any(), "one mask for each span"
    assert np.array_equal(inputs, infill(ids, np.random.default_rng(seed), **options))


def test_infilled_spans_have_poisson_lengths() -> None:
    ids = np.arange(FIRST_ORDINARY, FIRST_ORDINARY + 2000)
    lengths: list[int] = []
    for seed in range(20):
        inputs = infill(ids, np.random.default_rng(seed), rate=0.3, mean_span=3, mask_id=MASK)
        masks = np.flatnonzero(inputs == MASK)
        before = np.r_[FIRST_ORDINARY - 1, inputs][masks]
        after = np.r_[inputs, FIRST_ORDINARY + 2000][masks + 1]
        lengths.extend(after - before - 1)
    assert sum(lengths) == 20 * 600
    assert np.mean(lengths) == pytest.approx(3, rel=0.05)
    share = np.bincount(lengths, minlength=10)[:7] / len(lengths)
    expected = [np.exp(-3) * 3**n / factorial(n) for n in range(7)]
    assert np.abs(share - expected).max() < 0.02
