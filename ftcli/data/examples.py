"""Examples that are made when they are asked for: what every kind of them has beside how it makes one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from ftcli.contract import Example


class Examples(Sequence[Example]):
    """A sequence of examples; a subclass says how many there are, what each is and how long each is."""

    @abstractmethod
    def example(self, row: int) -> Example:
        """The example of a row from 0 on."""

    @abstractmethod
    def lengths(self) -> np.ndarray:
        """(rows,) size of each along its first input: tokens of a text, patches of an image."""

    @overload
    def __getitem__(self, row: int) -> Example: ...
    @overload
    def __getitem__(self, row: slice) -> list[Example]: ...
    def __getitem__(self, row: int | slice) -> Example | list[Example]:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return self.example(int(row) % len(self))

    def __iter__(self) -> Iterator[Example]:
        return (self[row] for row in range(len(self)))


def lengths(examples: Sequence[Example]) -> np.ndarray:
    """(rows,) size of each example along its first input: tokens of a text, patches of an image."""
    if isinstance(examples, Examples):
        return examples.lengths()
    return np.array(
        [len(e["input_ids"]) if "input_ids" in e else int(e.get("tokens", 1)) for e in examples], dtype=np.int64
    )
