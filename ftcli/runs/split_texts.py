"""All that is written in a split: what a vocabulary is learnt from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ftcli.contract import Column, Rows

WORDED = ("text", "tokens", "texts", "turns")
"""Kinds of columns that hold words, those to be told among them; what JSON holds may be places of answers."""


@dataclass(frozen=True)
class SplitTexts:
    """The texts of a split, read one at a time as often as they are gone through."""

    rows: Rows
    columns: Sequence[Column]

    def __iter__(self) -> Iterator[str]:
        kinds = {c.role: c.kind for c in self.columns if c.kind in WORDED or (c.kind == "json" and not c.answer)}
        for row in self.rows:
            for role, kind in kinds.items():
                value = row.get(role)
                if value and kind == "turns":
                    yield from (turn["content"] for turn in value)
                elif value:
                    yield value if isinstance(value, str) else " ".join(_strings(value))


def _strings(value: Any) -> Iterator[str]:
    """The texts in a list, or in whatever JSON holds."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _strings(entry)
