"""Connectionist temporal classification: sums over all ways to write a text, by hand; texts found as by trying all."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from ftcli.losses.alignment import ctc, room
from ftcli.models.ctc_decoding import beam_search, best_path

BLANK = 0


def written(path: tuple[int, ...]) -> tuple[int, ...]:
    """What a path writes: repetitions and blanks left out."""
    once = [token for place, token in enumerate(path) if not place or path[place - 1] != token]
    return tuple(token for token in once if token != BLANK)


def by_text(log_probs: np.ndarray) -> dict[tuple[int, ...], float]:
    """Text -> probability of all its paths."""
    frames, tokens = log_probs.shape
    found: dict[tuple[int, ...], float] = {}
    for path in product(range(tokens), repeat=frames):
        likely = float(np.exp(sum(log_probs[frame, token] for frame, token in enumerate(path))))
        found[written(path)] = found.get(written(path), 0.0) + likely
    return found


def drawn(seed: int, frames: int, tokens: int = 3) -> np.ndarray:
    logits = torch.from_numpy(np.random.default_rng(seed).normal(0, 2, (frames, tokens)))
    return torch.log_softmax(logits, -1).numpy()


def test_loss_is_the_sum_over_all_paths() -> None:
    first, second = drawn(1, 4), drawn(2, 3)
    logits = torch.zeros(2, 4, 3)
    logits[0], logits[1, :3] = torch.from_numpy(first), torch.from_numpy(second)
    targets, lengths, frames = torch.tensor([1, 1, 2]), torch.tensor([2, 1]), torch.tensor([4, 3])
    expected = -np.log(by_text(first)[1, 1]) - np.log(by_text(second)[2,])
    assert float(ctc(logits, frames, targets, lengths, BLANK)) == pytest.approx(expected, rel=1e-5)


def test_a_text_without_room_counts_nothing() -> None:
    logits = torch.randn(1, 2, 3, requires_grad=True)
    target = torch.tensor([1, 1])
    assert room(target) == 3
    assert room(torch.tensor([1, 2, 1])) == 3
    loss = ctc(logits, torch.tensor([2]), target, torch.tensor([2]), BLANK)
    loss.backward()
    assert float(loss) == 0
    assert torch.isfinite(logits.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(12))
def test_a_wide_beam_finds_the_likeliest_text(seed: int) -> None:
    log_probs = drawn(seed, 5)
    texts = by_text(log_probs)
    assert texts[tuple(beam_search(log_probs, BLANK, 200))] == pytest.approx(max(texts.values()))
    greedy = tuple(best_path(log_probs, BLANK))
    assert greedy == written(tuple(log_probs.argmax(1).tolist()))


def test_a_beam_finds_what_the_best_path_misses() -> None:
    # "a" has many paths of little probability each; the single likeliest path is all blanks.
    log_probs = np.log(np.array([[0.6, 0.4], [0.6, 0.4]]))
    assert best_path(log_probs, BLANK) == []
    assert beam_search(log_probs, BLANK, 4) == [1]
