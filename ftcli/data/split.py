"""Split names, and parts of a split chosen at random: held out for validation, or limited."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

_WORD = re.compile(r"[a-zA-Z]+")
SYNONYMS = {
    "train": ("train", "training"),
    "validation": (
        "validation", "valid", "val", "dev", "eval", "evaluation", "development", "validation_matched", "dev_matched",
    ),
    "test": ("test", "testing", "test_matched"),
}  # fmt: skip


def canonical(name: str) -> str | None:
    """train, validation or test, for any of their usual names."""
    return next((split for split, names in SYNONYMS.items() if name.lower() in names), None)


def split_of_name(stem: str) -> str:
    """The split in a name without its ending: ``train``, or the one split word of ``reviews-train``; else the name."""
    if canonical(stem):
        return stem
    words = [word for word in _WORD.findall(stem) if canonical(word)]
    return words[0] if len(words) == 1 else stem


def match(wanted: str, available: Iterable[str]) -> str | None:
    """The available split that `wanted` means: that very one, else one of the same meaning, best first."""
    names = list(available)
    if wanted in names:
        return wanted
    for synonym in SYNONYMS.get(canonical(wanted) or "", ()):
        for name in names:
            if name.lower() == synonym:
                return name
    return None


def hold_out(labels: Sequence[Any], fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to keep and rows to hold out: seeded, each label in proportion, both in their order.

    A label that occurs once stays; otherwise every label keeps at least one row. At least one row is held out,
    unless no label can spare any.
    """
    known: dict[tuple[type, Any], int] = {}
    codes = np.fromiter((known.setdefault((type(v), v), len(known)) for v in labels), np.int32, len(labels))
    ends = np.cumsum(np.bincount(codes, minlength=len(known)))
    by_label = np.split(np.argsort(codes, kind="stable"), ends[:-1])
    share = Fraction(fraction).limit_denominator(10**6)
    groups = [rows for rows in by_label if len(rows) > 1]
    exact = [len(rows) * share for rows in groups]
    counts = [min(int(quota), len(rows) - 1) for quota, rows in zip(exact, groups, strict=True)]
    missing = max(1, round(sum(exact))) - sum(counts)
    # What rounding down left over goes to the labels that lost most by it, one row each.
    by_loss = sorted(range(len(groups)), key=lambda g: counts[g] - exact[g])
    for g in [g for g in by_loss if counts[g] < len(groups[g]) - 1][: max(0, missing)]:
        counts[g] += 1
    chosen = random.Random(f"hold out {seed}")
    out = np.zeros(len(labels), dtype=bool)
    for rows, count in zip(groups, counts, strict=True):
        out[rows[chosen.sample(range(len(rows)), count)]] = True
    return np.flatnonzero(~out), np.flatnonzero(out)


def limit(rows: int, at_most: int | None, seed: int, split: str) -> list[int] | None:
    """A seeded choice of at most so many rows, in their order; None where all of them stay."""
    if at_most is None or rows <= at_most:
        return None
    return sorted(random.Random(f"limit {split} {seed}").sample(range(rows), at_most))
