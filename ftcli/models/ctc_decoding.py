"""From the probabilities of tokens over time to the likeliest text: the best path, or the best of many prefixes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_NEVER = -np.inf
_MOST_TOKENS = 40
"""Tokens of a frame that are tried at most, likeliest first."""


def best_path(log_probs: Floats, blank: int) -> list[int]:
    """Each frame's likeliest token, repetitions and blanks left out. `log_probs` (frames, tokens)."""
    path = log_probs.argmax(axis=1)
    starts = np.concatenate([[True], path[1:] != path[:-1]])
    return [int(token) for token in path[starts] if token != blank]


def beam_search(log_probs: Floats, blank: int, width: int) -> list[int]:
    """Tokens of the likeliest text found by following `width` prefixes, each with the probability of all its paths.

    `log_probs` (frames, tokens). Prefix search of Graves et al. 2006, as a beam: Hannun et al. 2014, "First-Pass Large
    Vocabulary Continuous Speech Recognition using Bi-Directional Recurrent DNNs" (arXiv:1408.2873).
    """
    # Prefix -> log probability of its paths that end in a blank, and of those that do not.
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, _NEVER)}
    for frame in log_probs:
        tokens = np.argsort(-frame, kind="stable")[:_MOST_TOKENS].tolist()
        found: dict[tuple[int, ...], list[float]] = {}
        for prefix, (in_blank, in_token) in beams.items():
            either = float(np.logaddexp(in_blank, in_token))
            for token in tokens:
                likely = float(frame[token])
                if token == blank:
                    _add(found, prefix, 0, either + likely)
                elif prefix and token == prefix[-1]:
                    _add(found, prefix, 1, in_token + likely)
                    _add(found, (*prefix, token), 1, in_blank + likely)
                else:
                    _add(found, (*prefix, token), 1, either + likely)
        ranked = sorted(found, key=lambda prefix: -np.logaddexp(found[prefix][0], found[prefix][1]))
        beams = {prefix: (found[prefix][0], found[prefix][1]) for prefix in ranked[:width]}
    return list(next(iter(beams)))


def _add(found: dict[tuple[int, ...], list[float]], prefix: tuple[int, ...], end: int, likely: float) -> None:
    entry = found.setdefault(prefix, [_NEVER, _NEVER])
    entry[end] = float(np.logaddexp(entry[end], likely))
