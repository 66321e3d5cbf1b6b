"""All that is written in a split: what a vocabulary is learnt from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ftcli.contract import Rows

WORDED = ("text", "tokens", "texts")
"""Kinds of columns that hold words, those to be told among them."""


@dataclass(frozen=True)
class SplitTexts:
    """The texts of a split, read one at a time as often as they are gone through."""

    rows: Rows
    roles: Sequence[str]

    def __iter__(self) -> Iterator[str]:
        for row in self.rows:
            for value in filter(None, map(row.get, self.roles)):
                yield value if isinstance(value, str) else " ".join(value)
