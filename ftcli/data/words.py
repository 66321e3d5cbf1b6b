"""Texts as words with their places, and words as a model's tokens."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ftcli.contract import Column
from ftcli.data.texts import is_plain_fast

TOKENS = Column(
    "tokens",
    "tokens",
    ("tokens", "words", "token", "word", "sentence", "text", "content", "document"),
)
TAGS = Column(
    "tags",
    "tags",
    ("ner_tags", "tags", "ner", "labels", "bio_tags", "iob_tags", "entities", "pos_tags", "chunk_tags", "upos", "tag",
     "label"),
    required=False,
    answer=True,
)  # fmt: skip
_IDEOGRAPHS = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3134F))
_JOINERS = "\u200c\u200d"


def split_words(text: str) -> list[tuple[int, int]]:
    """Start and end of each word: runs of letters, digits and their marks, each sign by itself, and each ideograph (as
    in data whose tokens are Chinese characters). ``@`` and ``#`` belong to the word they begin."""
    found: list[tuple[int, int]] = []
    start: int | None = None
    for place, character in enumerate(text):
        kind = _kind(character)
        if kind == "letter" and start is not None:
            continue
        if start is not None:
            found.append((start, place))
            start = None
        if kind == "letter":
            joined = bool(found) and found[-1] == (place - 1, place) and text[place - 1] in "@#"
            start = found.pop()[0] if joined else place
        elif kind != "space":
            found.append((place, place + 1))
    if start is not None:
        found.append((start, len(text)))
    return found


def _kind(character: str) -> str:
    if character.isspace():
        return "space"
    if any(low <= ord(character) <= high for low, high in _IDEOGRAPHS):
        return "ideograph"
    letter = character.isalnum() or character in f"_{_JOINERS}" or unicodedata.category(character).startswith("M")
    return "letter" if letter else "sign"


@dataclass(frozen=True)
class Pieces:
    """The tokens of a row of words, without special ones."""

    ids: np.ndarray
    """(tokens,)"""
    first: np.ndarray
    """(words,) the place of each word's first token; -1 for a word that the tokenizer makes nothing of."""


def pieces_of(tokenizer: Any, rows: Sequence[Sequence[str]]) -> list[Pieces]:
    """The tokens of each row of words; a word has the tokens that a text of them, with spaces between, gives it."""
    if not is_plain_fast(tokenizer):
        return [_word_by_word(tokenizer, words) for words in rows]
    encodings = _whole(tokenizer, [" ".join(words) for words in rows])
    return [_aligned(encoding, words) for encoding, words in zip(encodings, rows, strict=True)]


def _whole(tokenizer: Any, texts: Sequence[str]) -> list[Any]:
    """What the Rust tokenizer makes of each text, uncut and without special tokens."""
    core = tokenizer.backend_tokenizer
    kept = core.truncation
    core.no_truncation()
    core.no_padding()
    try:
        found: list[Any] = core.encode_batch(list(texts), add_special_tokens=False)
    finally:
        if kept is not None:
            core.enable_truncation(**kept)
    return found


@dataclass(frozen=True)
class Spots:
    """The tokens of a text, without special ones, and where in the text each is."""

    ids: np.ndarray
    """(tokens,)"""
    starts: np.ndarray
    """(tokens,) first character."""
    ends: np.ndarray
    """(tokens,) the one after the last character."""


def spots_of(tokenizer: Any, texts: Sequence[str]) -> list[Spots]:
    """The tokens of each text with their places; where the tokenizer does not tell them, those of their words."""
    if not is_plain_fast(tokenizer):
        return [_spots_of_words(tokenizer, text) for text in texts]
    found = []
    for encoding in _whole(tokenizer, texts):
        offsets = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2)
        found.append(Spots(np.array(encoding.ids, dtype=np.int32), offsets[:, 0].copy(), offsets[:, 1].copy()))
    return found


def _spots_of_words(tokenizer: Any, text: str) -> Spots:
    columns: tuple[list[int], list[int], list[int]] = ([], [], [])
    for start, end in split_words(text):
        ids = tokenizer(text[start:end], add_special_tokens=False)["input_ids"]
        for column, values in zip(columns, (ids, [start] * len(ids), [end] * len(ids)), strict=True):
            column.extend(values)
    ids, starts, ends = (np.array(column, dtype=np.int32) for column in columns)
    return Spots(ids, starts, ends)


def _aligned(encoding: Any, words: Sequence[str]) -> Pieces:
    starts = np.cumsum([0, *(len(word) + 1 for word in words)])[:-1]
    offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    first = np.full(len(words), -1, dtype=np.int64)
    real = np.flatnonzero(offsets[:, 1] > offsets[:, 0])
    # A token may begin with the space before its word, so its end tells whose it is.
    owners = np.searchsorted(starts, offsets[real, 1] - 1, side="right") - 1
    owned, where = np.unique(owners, return_index=True)
    first[owned] = real[where]
    return Pieces(np.array(encoding.ids, dtype=np.int32), first)


def _word_by_word(tokenizer: Any, words: Sequence[str]) -> Pieces:
    ids: list[int] = []
    first = np.full(len(words), -1, dtype=np.int64)
    for place, word in enumerate(words):
        own = tokenizer(word, add_special_tokens=False)["input_ids"]
        if own:
            first[place] = len(ids)
            ids.extend(own)
    return Pieces(np.array(ids, dtype=np.int32), first)
