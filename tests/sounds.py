"""Sounds made on the spot."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

PITCHES = {"a": 350.0, "b": 900.0, "c": 2100.0}


def tones(pitches: Sequence[float], seed: int = 0, rate: int = 8000, seconds: float = 0.1) -> Any:
    """(samples,) tones one after the other with short pauses, under some noise; a pitch of 0 is a longer pause."""
    random = np.random.default_rng(seed)
    time = np.arange(int(rate * seconds)) / rate
    pause = np.zeros(int(rate * 0.03))
    pieces = [np.concatenate([0.4 * np.sin(2 * np.pi * pitch * time), pause]) for pitch in pitches]
    sound = np.concatenate([pause, *pieces])
    return (sound + random.normal(0, 0.01, len(sound))).astype(np.float32)


def as_bytes(samples: Any, rate: int = 8000, kind: str = "wav") -> bytes:
    """A sound file."""
    held = io.BytesIO()
    soundfile.write(held, samples, rate, format=kind)
    return held.getvalue()


def save(path: Path, samples: Any, rate: int = 8000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(as_bytes(samples, rate, path.suffix[1:]))
    return path


def glides(count: int, seed: int) -> list[dict[str, Any]]:
    """Three tones that rise or fall, as a Hub's table has them."""
    random, rows = np.random.default_rng(seed), []
    for number in range(count):
        start = float(random.uniform(300, 900))
        pitches = [start, 1.5 * start, 2.2 * start][:: 1 if number % 2 else -1]
        rows.append({"audio": as_bytes(tones(pitches, seed + number)), "label": ("falling", "rising")[number % 2]})
    return rows


def spelt(count: int, seed: int) -> list[dict[str, Any]]:
    """A tone for each letter of one or two short words."""
    random, rows = np.random.default_rng(seed), []
    for number in range(count):
        words = ["".join(random.choice(list("abc"), random.integers(1, 3))) for _ in range(1 + number % 2)]
        text = " ".join(words)
        sound = tones([PITCHES.get(letter, 0.0) for letter in text], seed + number)
        rows.append({"audio": as_bytes(sound), "transcript": text})
    return rows
