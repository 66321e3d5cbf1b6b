"""The ways in which tags mark entities: which one data is in, whether it keeps to it, entities back into tags.

IOB1 of Ramshaw and Marcus 1995, "Text Chunking using Transformation-Based Learning" (cmp-lg/9505040); BIO (IOB2) and
BIOES (IOBES) of Tjong Kim Sang and Veenstra 1999, "Representing Text Chunks" (cs/9907006); BILOU is BIOES by other
letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ftcli.metrics.tags import Span, split_tag

MARKED = re.compile(r"[BIESLU]-.+", re.DOTALL)
BARE = frozenset("BIESLUO")
MARKS = {"bio": frozenset("BIO"), "iob1": frozenset("BIO"), "bioes": frozenset("BIOES")}
LONE = "_"
"""Type of entities whose tags name none (B, I and O alone)."""


def tag_fault(tags: Sequence[str]) -> str | None:
    """What is wrong with the tags of one sentence: marks with types beside what is neither that nor O."""
    if not any(map(MARKED.fullmatch, tags)):
        return None
    odd = next((i for i, tag in enumerate(tags) if tag != "O" and not MARKED.fullmatch(tag)), None)
    return None if odd is None else f"tag {odd + 1} is '{tags[odd]}', neither O nor a mark with a type (B-..., I-...)"


def detect(sentences: Iterable[Sequence[str]]) -> str:
    """bio, iob1 or bioes; plain for tags that mark no entities. Where both could be, or neither quite, bio."""
    marks: set[str] = set()
    plain = False
    broken = {"bio": 0, "iob1": 0}
    for tags in sentences:
        plain = plain or any(not MARKED.fullmatch(tag) and tag not in BARE for tag in tags)
        if plain:
            return "plain"
        marks |= {split_tag(tag)[0] for tag in tags}
        for scheme in broken:
            broken[scheme] += breaks(tags, scheme)
    if marks <= {"O"}:
        return "plain"
    if marks & {"E", "S"}:
        return "bioes"
    return "iob1" if broken["bio"] and not broken["iob1"] else "bio"


def breaks(tags: Sequence[str], scheme: str) -> bool:
    """True where a sentence does not keep to its scheme."""
    return any(
        _breaks(split_tag(before), split_tag(tag), scheme)
        for before, tag in zip(["O", *tags], [*tags, "O"], strict=True)
    )


def _breaks(before: tuple[str, str], tag: tuple[str, str], scheme: str) -> bool:
    """Whether `tag` may not follow `before`."""
    inside = before[0] in "BI" and before[1] == tag[1]
    if scheme == "iob1":  # B only where it tells an entity from one of its type just before
        return tag[0] == "B" and not inside
    if scheme == "bio":
        return tag[0] == "I" and not inside
    goes_on = tag[0] in "IE"
    return (goes_on and not inside) or (before[0] in "BI" and not (goes_on and inside))


def written(spans: Iterable[Span], tokens: int, scheme: str) -> list[str]:
    """Tags of so many tokens for entities that do not overlap."""
    tags, kinds = ["O"] * tokens, [""] * tokens
    for kind, start, end in spans:
        for place in range(start, end):
            mark = "B" if place == start else "I"
            if scheme == "bioes" and place == end - 1:
                mark = "S" if place == start else "E"
            if scheme == "iob1" and mark == "B" and not (start and kinds[start - 1] == kind):
                mark = "I"
            tags[place] = mark if kind == LONE else f"{mark}-{kind}"
        kinds[end - 1] = kind
    return tags
