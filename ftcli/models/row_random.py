"""Random numbers by row: what is drawn for a row depends on the row and the step, not on the rows beside it.

So a step is the same however its rows are put into forward passes and dealt among processes. Torch's generator gives
each call its key, and so is all that a checkpoint has to keep, and what puts a pass back to where it was. A row's
numbers are SplitMix64's (Steele et al. 2014, "Fast splittable pseudorandom number generators", OOPSLA) from where the
key of the call and that of the row say: any of them can be computed alone, and many at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Words = npt.NDArray[np.uint64]
_STEP = np.uint64(0x9E3779B97F4A7C15)
_ROUNDS = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_LAST = np.uint64(31)


def scrambled(words: Words) -> Words:
    """SplitMix64's finaliser, in place: each word another one, that tells nothing of words near it."""
    shifted = np.empty_like(words)
    for shift, factor in _ROUNDS:
        np.right_shift(words, shift, out=shifted)
        np.bitwise_xor(words, shifted, out=words)
        np.multiply(words, factor, out=words)
    np.right_shift(words, _LAST, out=shifted)
    return np.bitwise_xor(words, shifted, out=words)


def mixed(*numbers: int) -> int:
    """A key of 63 bits from several numbers: another one for any other numbers."""
    key = np.zeros(1, dtype=np.uint64)
    for number in numbers:
        key += np.uint64(number) + _STEP
        scrambled(key)
    return int(key[0] >> np.uint64(1))


class RowStreams:
    """The rows of a batch, for whoever draws for them."""

    def __init__(self, rows: Sequence[int]) -> None:
        self._rows = scrambled((np.asarray(rows, dtype=np.uint64) + np.uint64(1)) * _STEP)
        self.layouts: dict[int, list[int]] = {}
        """Tokens of a batch that is one long row, filler included -> those of each of its sequences, as the unpadded
        path says. They stay known to the end of the batch: activations may be computed again."""

    def keys(self, sequences: int) -> Words:
        """(sequences,) keys of one call; several sequences of a row (choices, windows) have keys of their own."""
        call = np.uint64(int(torch.randint(2**62, ())))
        if sequences == len(self._rows):
            return scrambled(self._rows + call)
        times, rest = divmod(sequences, max(1, len(self._rows)))
        # Windows, more of one row than of another: then by all rows together.
        rows = self._rows.repeat(times) if not rest else np.full(sequences, self._rows.sum())
        places = np.arange(sequences, dtype=np.uint64) % np.uint64(times if not rest else sequences)
        return scrambled(scrambled(rows + call) + places * _STEP)


def bits(keys: Words, counts: Sequence[int]) -> Tensor:
    """(sum of counts,) random int16, so many from the stream of each key in turn."""
    sizes = np.asarray(counts)
    per_key = (sizes + 3) // 4  # of an int16 each four are in a word
    starts = np.cumsum(per_key) - per_key
    words = np.arange(int(per_key.sum()), dtype=np.uint64)
    words *= _STEP
    words += np.repeat(keys - starts.astype(np.uint64) * _STEP, per_key)
    found = torch.from_numpy(scrambled(words).view(np.int16))
    if not (sizes % 4).any():
        return found
    return torch.cat([found[4 * start : 4 * start + size] for start, size in zip(starts, sizes, strict=True)])


_streams: ContextVar[RowStreams | None] = ContextVar("streams", default=None)


def row_streams() -> RowStreams | None:
    """Those of the batch under way; None where random numbers are torch's own."""
    return _streams.get()


@contextmanager
def by_row(rows: Sequence[int], key: int) -> Iterator[None]:
    """Random numbers inside are drawn by row for a batch of these `rows`; `key` is that of the step."""
    torch.default_generator.manual_seed(key)
    token = _streams.set(RowStreams(rows))
    try:
        yield
    finally:
        _streams.reset(token)
