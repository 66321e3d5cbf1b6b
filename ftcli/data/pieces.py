"""Documents cut into pieces that a model can take: a few numbers per piece, tokens read when asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ftcli.contract import Example
from ftcli.data.examples import Examples
from ftcli.data.texts import Frame


class Pieces(Examples):
    """One text, or two, per example: runs of tokens of documents, with special tokens around and between them.

    `first` and `second` are (examples, 3) arrays of document, start and end; where `second` is None, or its run is
    empty, there is one text. `fields` are numbers by name, one per example.
    """

    def __init__(
        self,
        documents: Sequence[Example],
        frame: Frame,
        first: np.ndarray,
        second: np.ndarray | None = None,
        fields: dict[str, np.ndarray] | None = None,
        *,
        with_types: bool = False,
    ) -> None:
        self.documents, self.frame, self.first, self.second = documents, frame, first, second
        self.fields, self.with_types = fields or {}, with_types

    def __len__(self) -> int:
        return len(self.first)

    def example(self, row: int) -> Example:
        """The piece, or the two, of a row, with special tokens."""
        return self._made(row, self._runs(row))

    def shortened(self, row: int, longest: int) -> Example:
        """The example with its texts ending earlier, in proportion, so that it has at most `longest` tokens; of each
        text one is left in any case."""
        runs, frame = self._runs(row), self.frame
        sizes = runs[:, 2] - runs[:, 1]
        special = len(frame.before) + len(frame.after) + (len(frame.between) if len(runs) > 1 else 0)
        kept = np.maximum(1, sizes * (longest - special) // max(1, int(sizes.sum())))
        runs[:, 2] = runs[:, 1] + np.minimum(sizes, kept)
        return self._made(row, runs)

    def _runs(self, row: int) -> np.ndarray:
        """(texts, 3) document, start and end."""
        return np.stack([of_all[row] for of_all in (self.first, self.second) if of_all is not None])

    def _made(self, row: int, runs: np.ndarray) -> Example:
        frame, texts = self.frame, [self._run(run) for run in runs]
        parts = [frame.before, texts[0], frame.after]
        types = len(frame.before) + len(texts[0]) + len(frame.after)
        if len(texts) > 1:
            parts = [frame.before, texts[0], frame.between, texts[1], frame.after]
            types = len(frame.before) + len(texts[0]) + len(frame.between)
        ids = np.concatenate([np.asarray(part, dtype=np.int32) for part in parts])
        example: Example = {"input_ids": ids}
        if self.with_types:
            example["token_type_ids"] = np.where(np.arange(len(ids)) < types, 0, frame.second).astype(np.int32)
        return {**example, **{name: int(values[row]) for name, values in self.fields.items()}}

    def lengths(self) -> np.ndarray:
        """Tokens of each example, special ones included."""
        frame = self.frame
        found = self.first[:, 2] - self.first[:, 1] + len(frame.before) + len(frame.after)
        if self.second is not None:
            found = found + self.second[:, 2] - self.second[:, 1] + len(frame.between)
        return np.asarray(found, dtype=np.int64)

    def document(self, row: int) -> int:
        """The document that an example begins in."""
        return int(self.first[row, 0])

    def _run(self, run: np.ndarray) -> np.ndarray:
        document, start, end = (int(number) for number in run)
        ids: np.ndarray = self.documents[document]["input_ids"][start:end]
        return ids


def cut(sizes: np.ndarray, longest: int, *, shortest: int = 1) -> np.ndarray:
    """(pieces, 3) document, start and end: each document in as few pieces of at most `longest` tokens as can be, of
    equal size; documents of fewer than `shortest` tokens are left out."""
    kept = np.flatnonzero(sizes >= shortest)
    counts = -(-sizes[kept] // longest)
    document = np.repeat(kept, counts)
    number = np.arange(len(document)) - np.repeat(np.cumsum(counts) - counts, counts)
    size, parts = sizes[document], np.repeat(counts, counts)
    return np.stack([document, size * number // parts, size * (number + 1) // parts], axis=1).astype(np.int64)


def token_counts(documents: Sequence[Example], vocabulary: int) -> np.ndarray:
    """(vocabulary,) how often each token occurs."""
    counts = np.zeros(vocabulary, dtype=np.int64)
    for start in range(0, len(documents), _COUNTED_AT_A_TIME):
        ids = [example["input_ids"] for example in documents[start : start + _COUNTED_AT_A_TIME]]
        counts += np.bincount(np.concatenate(ids), minlength=vocabulary)
    return counts


_COUNTED_AT_A_TIME = 1000
