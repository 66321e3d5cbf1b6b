"""What each token of a vocabulary stands for: how many bytes of text, and whether a word begins with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

SPACE = "▁"
"""Stands for a space in vocabularies of SentencePiece's kind."""


def token_bytes(tokenizer: PreTrainedTokenizerBase) -> NDArray[np.int64]:
    """(vocabulary,) UTF-8 bytes of text that each token stands for; 0 for special ones.

    A marker of a space counts as the space: 4 for "Ġthe" and "▁the", but 3 for "##ing". Over the tokens of a text a
    byte-level vocabulary gives the very bytes of the text; WordPiece gives those that are not spaces, and
    SentencePiece's kind one more where it put a space before the first word.
    """
    spelled = _spelled(tokenizer)
    return np.array([0 if text is None else len(text) for text, _ in spelled], dtype=np.int64)


def begins_word(tokenizer: PreTrainedTokenizerBase) -> NDArray[np.bool_]:
    """(vocabulary,) False for tokens that go on with the word of the token before them, as whole-word masking sees it.

    In WordPiece these are the pieces marked ##. Where spaces are marked instead, they are the tokens that start
    neither with white space nor with a letter of a script written without it (Chinese characters, kana): such letters
    are words of their own. Special tokens are too.
    """
    return np.array([begins for _, begins in _spelled(tokenizer)], dtype=np.bool_)


def _spelled(tokenizer: PreTrainedTokenizerBase) -> list[tuple[bytes | None, bool]]:
    """For each id the bytes it stands for (None: a special token) and whether it begins a word."""
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    model, kinds = parts["model"], set(_kinds([parts["pre_tokenizer"], parts["decoder"]]))
    suffix = model.get("end_of_word_suffix") or ""
    prefix = model.get("continuing_subword_prefix") or ""
    marks_spaces = not suffix and bool(kinds & {"ByteLevel", SPACE})
    special = set(tokenizer.all_special_ids)
    added = tokenizer.added_tokens_decoder
    vocabulary = tokenizer.get_vocab()
    # An id that no token has stands for nothing.
    found: list[tuple[bytes | None, bool]] = [(None, True)] * max(len(tokenizer), 1 + max(vocabulary.values()))
    for token, place in vocabulary.items():
        if place in special or (place in added and added[place].special):
            continue
        if place in added:
            found[place] = token.encode(), True
            continue
        goes_on = bool(prefix) and token.startswith(prefix)
        plain = token.removeprefix(prefix).removesuffix(suffix)
        text = _text(plain, kinds)
        found[place] = text, _starts_word(text) if marks_spaces else not goes_on
    return found


def _kinds(part: Any) -> Iterator[str]:
    """Types of the steps in a tokenizer's description, however nested; SPACE for a step that writes spaces so."""
    if isinstance(part, list):
        for item in part:
            yield from _kinds(item)
    elif isinstance(part, dict):
        yield str(part.get("type"))
        if part.get("type") == "Metaspace" or part.get("pattern") == {"String": SPACE}:
            yield SPACE
        for value in part.values():
            yield from _kinds(value)


def _text(token: str, kinds: set[str]) -> bytes:
    """The bytes behind a token's spelling."""
    if "ByteLevel" in kinds and all(letter in _BYTES for letter in token):
        return bytes(_BYTES[letter] for letter in token)
    if "ByteFallback" in kinds and len(token) == 6 and token.startswith("<0x"):
        return bytes.fromhex(token[3:5])
    return (token.replace(SPACE, " ") if SPACE in kinds else token).encode()


def _byte_letters() -> dict[str, int]:
    """The letters that byte-level vocabularies write bytes with: visible Latin-1 as it is, the others from 256 on.

    Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2.
    """
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTES = _byte_letters()
_SPACELESS = ((0x3005, 0x3007), (0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF),
              (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x20000, 0x3FFFF))  # fmt: skip
"""Code points of Chinese characters and kana."""


def _starts_word(text: bytes) -> bool:
    # A byte-level token may hold the first bytes of a letter alone: the rest of it does not change its script.
    length = next((n for n, least in ((4, 0xF0), (3, 0xE0), (2, 0xC0)) if text[:1] >= bytes([least])), 1)
    first = (text + b"\x80\x80\x80")[:length].decode(errors="replace")[:1]
    return first.isspace() or any(low <= ord(first) <= high for low, high in _SPACELESS)
