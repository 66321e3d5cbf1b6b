"""Texts changed a little, to have a teacher's answers on more than there is.

Masking and sampling as in Tang et al. 2019, "Distilling Task-Specific Knowledge from BERT into Simple Neural Networks"
(arXiv:1903.12136), deletion and swapping as in Wei & Zou 2019, "EDA" (arXiv:1901.11196).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ftcli.contract import Row, Rows
from ftcli.data.rows import Origins, TableRows, TextColumn
from ftcli.errors import UsageError, did_you_mean

Change = Callable[[list[str], float, np.random.Generator, str], list[str]]


def mask(words: list[str], rate: float, random: np.random.Generator, hidden: str) -> list[str]:
    """Words hidden, each with a chance of `rate`."""
    return [hidden if drop else word for word, drop in zip(words, random.random(len(words)) < rate, strict=True)]


def delete(words: list[str], rate: float, random: np.random.Generator, hidden: str) -> list[str]:
    """Words left out, each with a chance of `rate`; one stays in any case."""
    kept = [word for word, drop in zip(words, random.random(len(words)) < rate, strict=True) if not drop]
    return kept or [words[int(random.integers(len(words)))]]


def swap(words: list[str], rate: float, random: np.random.Generator, hidden: str) -> list[str]:
    """Pairs of words that change places, as many as make `rate` of all, at least one."""
    found = list(words)
    for _ in range(max(1, round(rate * len(words) / 2))):
        one, other = random.integers(len(words), size=2)
        found[one], found[other] = found[other], found[one]
    return found


def sample(words: list[str], rate: float, random: np.random.Generator, hidden: str) -> list[str]:
    """A run of the words without the share `rate` of them; where it begins is drawn."""
    keep = max(1, round((1 - rate) * len(words)))
    start = int(random.integers(len(words) - keep + 1))
    return words[start : start + keep]


CHANGES: Mapping[str, Change] = {"mask": mask, "delete": delete, "swap": swap, "sample": sample}


def read_ways(given: str) -> list[str]:
    """The ways of `distill.augment_how`; UsageError for an unknown one."""
    ways = [name.strip() for name in given.split(",") if name.strip()]
    for way in ways:
        if way not in CHANGES:
            raise UsageError(f"distill.augment_how: unknown way '{way}'", hint=did_you_mean(way, CHANGES))
    if not ways:
        raise UsageError("distill.augment_how names no way", hint="--set distill.augment_how=mask,delete,swap,sample")
    return ways


def changed(rows: Rows, copies: int, ways: Sequence[str], rate: float, seed: int, hidden: str) -> TableRows:
    """`copies` of each row, its ``text`` changed in one way; what is drawn depends on seed, row and copy alone. The
    second text of a pair stays as it is."""
    texts, others, origins = TextColumn(), TextColumn(), Origins()
    paired = len(rows) > 0 and "text_b" in rows[0]

    def place(row: int) -> str:
        return f"{rows.place(row // copies)} (changed, copy {row % copies + 1})"

    origins.begin(place)
    for number, row in enumerate(rows):
        words = str(row["text"]).split()
        for copy in range(copies):
            random = np.random.default_rng((seed, number, copy))
            way = ways[int(random.integers(len(ways)))]
            texts.add(" ".join(CHANGES[way](words, rate, random, hidden)) if words else "")
            if paired:
                others.add(str(row["text_b"]))
            origins.add(number * copies + copy)
    more = {"text_b": others.finish()} if paired else {}
    return TableRows({"text": texts.finish(), **more}, origins)


def without(rows: Rows, others: Sequence[Rows], roles: Sequence[str]) -> tuple[Rows, int]:
    """The rows whose values in `roles` occur in none of `others`, and how many do."""

    def key(row: Row) -> tuple[object, ...]:
        return tuple(value if isinstance(value, str | bytes) else repr(value) for value in map(row.get, roles))

    known = {key(row) for other in others for row in other}
    kept = [i for i, row in enumerate(rows) if key(row) not in known]
    left = len(rows) - len(kept)
    return (rows.select(kept) if left else rows), left
