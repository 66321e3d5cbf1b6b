"""Documents that occurred before: found by hashes alone, never by keeping the texts."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np


def text_hashes(texts: Iterable[str]) -> np.ndarray:
    """A 64-bit hash of each text as people see it: composed Unicode (NFC), white space as single spaces. (uint64)

    Two of ten million different texts share a hash with a probability of about 3 in a million.
    """
    return np.fromiter((_hash(text) for text in texts), np.uint64)


def first_of_each(hashes: np.ndarray) -> np.ndarray:
    """True for each row whose hash did not occur in an earlier row."""
    first = np.zeros(len(hashes), dtype=bool)
    first[np.unique(hashes, return_index=True)[1]] = True
    return first


def _hash(text: str) -> int:
    seen = " ".join((text if text.isascii() else unicodedata.normalize("NFC", text)).split())
    return int.from_bytes(blake2b(seen.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
