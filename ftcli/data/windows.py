"""Rows of more tokens than a model takes, as windows that overlap: one example still, several rows of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ftcli.contract import Example
from ftcli.data.texts import Frame
from ftcli.data.tokens import Tokens


def windows(tokens: int, room: int, overlap: float) -> list[tuple[int, int]]:
    """Start and end of windows of at most `room` tokens over so many; neighbours share at least `overlap` of a window.

    As few as it takes, and all but evenly spread.
    """
    if tokens <= room:
        return [(0, tokens)]
    step = max(1, room - round(overlap * room))
    many = 1 + -(-(tokens - room) // step)
    starts = [round(i * (tokens - room) / (many - 1)) for i in range(many)]
    return [(start, start + room) for start in starts]


def owners(spans: Sequence[tuple[int, int]], places: np.ndarray) -> np.ndarray:
    """(places,) the window each place is looked at in: that in which it has the most on both sides."""
    borders = [(later[0] + earlier[1]) / 2 for earlier, later in pairwise(spans)]
    return np.searchsorted(np.array(borders), places, side="right")


def in_windows(ids: np.ndarray, frame: Frame, spans: Sequence[tuple[int, int]]) -> Example:
    """``input_ids`` of all windows one after the other, special tokens around each, and ``windows``, their lengths."""
    rows = [np.concatenate([frame.before, ids[start:end], frame.after]) for start, end in spans]
    lengths = np.array([len(row) for row in rows], dtype=np.int32)
    return {"input_ids": np.concatenate(rows).astype(np.int32), "windows": lengths}


def pair_in_windows(
    first: np.ndarray, second: np.ndarray, frame: Frame, between: Sequence[int], room: int, overlap: float
) -> Example:
    """The same of two texts of more than `room` tokens together, with ``token_type_ids``: the longer one in windows,
    each beside the other one, of which no more is seen than what half the room takes (``truncated``)."""
    turned = len(first) > len(second)
    kept, long = (second, first) if turned else (first, second)
    seen = kept[: room // 2]
    ids, types = [], []
    for start, end in windows(len(long), room - len(seen), overlap):
        one, other = (long[start:end], seen) if turned else (seen, long[start:end])
        row = np.concatenate([frame.before, one, between, other, frame.after]).astype(np.int32)
        ids.append(row)
        types.append(np.zeros(len(row), dtype=np.int32))
        types[-1][len(frame.before) + len(one) + len(between) :] = frame.second
    return {
        "input_ids": np.concatenate(ids),
        "token_type_ids": np.concatenate(types),
        "windows": np.array([len(row) for row in ids], dtype=np.int32),
        "truncated": len(seen) < len(kept),
    }


def unfolded(examples: Sequence[Example]) -> list[Example]:
    """Every window of the examples as an example of its own; of the first segment, where they do not say."""
    found = []
    for example in examples:
        ends = np.cumsum(example["windows"])[:-1]
        ids = example["input_ids"]
        types = example.get("token_type_ids", np.zeros(len(ids), dtype=np.int32))
        both = zip(np.split(ids, ends), np.split(types, ends), strict=True)
        found += [{"input_ids": part, "token_type_ids": of_part} for part, of_part in both]
    return found


def in_several(examples: Sequence[Example]) -> int:
    """How many examples have more than one window."""
    if not isinstance(examples, Tokens):
        return sum(len(example.get("windows", ())) > 1 for example in examples)
    field = examples.fields.get("windows")
    return 0 if field is None else int((np.diff(field.ends.astype(np.int64), prepend=0) > 1).sum())


def how_many(examples: Sequence[Example], name: str) -> int:
    """How many examples have `name`, a flag."""
    if isinstance(examples, Tokens):
        return examples.total(name) if name in examples.fields else 0
    return sum(bool(example.get(name)) for example in examples)


def share_cut(examples: Sequence[Example]) -> float | None:
    """Share of the examples of which something was cut off; None where they cannot say."""
    if not len(examples):
        return None
    if isinstance(examples, Tokens):
        known = "truncated" in examples.fields
        return examples.total("truncated") / len(examples) if known else None
    return sum(bool(e["truncated"]) for e in examples) / len(examples) if "truncated" in examples[0] else None
