"""Documents that occurred before, or nearly so: found by hashes alone, never by keeping the texts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any

import numpy as np

from ftcli.errors import UsageError

_SHINGLE = 5
"""Words of the sequences that near duplicates share."""
_PERMUTATIONS = 128
"""Numbers in a signature: a share of 0.8 is estimated to within 0.07 nineteen times out of twenty."""
_FOUND = 0.95
"""Least chance that a pair just as near as asked for is compared at all."""
_WORD = re.compile(r"\w+")


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


def datasketch() -> Any:
    """The library that finds near duplicates; UsageError where it is not installed."""
    try:
        import datasketch
    except ImportError:
        raise UsageError(
            "corpus.near_dup needs a package that is not installed", hint="pip install datasketch"
        ) from None
    return datasketch


def unlike_earlier(texts: Iterable[str], share: float) -> np.ndarray:
    """True for each text that has less than about `share` of its 5-word sequences in common with any earlier one
    that was kept: the Jaccard index of the two sets, estimated by MinHash (Broder 1997) and looked up by
    locality-sensitive hashing. Some 600 bytes and half a millisecond per text of 300 words.
    """
    library = datasketch()
    bands, rows = _bands(share)
    index = library.MinHashLSH(num_perm=_PERMUTATIONS, params=(bands, rows))
    kept: list[bool] = []
    signatures: dict[int, np.ndarray] = {}
    for number, text in enumerate(texts):
        sketch = library.MinHash(_PERMUTATIONS)
        sketch.update_batch(list(_shingles(text)))
        values = np.asarray(sketch.hashvalues)
        near = any(np.mean(signatures[other] == values) >= share for other in index.query(sketch))
        kept.append(not near)
        if not near:
            index.insert(number, sketch)
            signatures[number] = values.astype(np.uint32)
    return np.asarray(kept, dtype=bool)


def _shingles(text: str) -> Iterator[bytes]:
    """The different sequences of five words; all the words where they are fewer."""
    words = _WORD.findall(text.casefold())
    last = max(1, len(words) - _SHINGLE + 1)
    return iter({" ".join(words[n : n + _SHINGLE]).encode("utf-8", "surrogatepass") for n in range(last)})


def _bands(share: float) -> tuple[int, int]:
    """How many groups of how many numbers: two texts are compared where they agree in one whole group."""
    for rows in range(_PERMUTATIONS // 2, 1, -1):
        bands = _PERMUTATIONS // rows
        if 1 - (1 - share**rows) ** bands >= _FOUND:
            return bands, rows
    return _PERMUTATIONS, 1
