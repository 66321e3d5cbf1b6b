"""Entities out of tags, as the scorer of the CoNLL shared tasks reads them.

Tjong Kim Sang and Buchholz 2000, "Introduction to the CoNLL-2000 Shared Task: Chunking" (ACL W00-0726). What odd
sequences of tags mean (an I- with nothing before it) is as that scorer has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_OTHERWISE = {"L": "E", "U": "S"}
_GOES_ON, _MAY_BE_FOLLOWED = frozenset("IE"), frozenset("BI")


class Span(NamedTuple):
    """An entity: its type, its first token and the one after its last."""

    type: str
    start: int
    end: int


def split_tag(tag: str) -> tuple[str, str]:
    """Mark and type of a tag: ``("B", "person")``; ``("O", "")`` outside of entities; ``_`` where no type is named.
    L and U of the BILOU scheme are E and S."""
    mark, _, kind = tag.partition("-")
    return ("O", "") if mark == "O" else (_OTHERWISE.get(mark, mark), kind or "_")


def spans(tags: Sequence[str]) -> list[Span]:
    """The entities of a sentence's tags, in whichever of the schemes IOB1, BIO (IOB2) and BIOES (IOBES) they are.

    A token goes on with the entity before it where its mark is I or E, the one before is B or I, and both have the same
    type; any other that is not O begins an entity of its own.
    """
    found: list[Span] = []
    before, kind, start = "O", "", 0
    for place, tag in enumerate([*tags, "O"]):
        mark, own = split_tag(tag)
        goes_on = mark in _GOES_ON and before in _MAY_BE_FOLLOWED and own == kind
        if not goes_on:
            if before != "O":
                found.append(Span(kind, start, place))
            start = place
        before, kind = mark, own
    return found
