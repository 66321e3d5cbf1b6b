"""Examples with the answers an objective draws for them, by seed and row alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import numpy as np

from ftcli.contract import Example

Corrupt = Callable[[Example, np.random.Generator], Example]


class Corrupted(Sequence[Example]):
    """`examples`, each with the answers of `draw` for an epoch of its own: the same whenever it is asked for."""

    def __init__(self, examples: Sequence[Example], draw: Callable[[Example, int, int], Example]) -> None:
        self._examples, self._draw = examples, draw

    def __len__(self) -> int:
        return len(self._examples)

    @overload
    def __getitem__(self, row: int) -> Example: ...
    @overload
    def __getitem__(self, row: slice) -> list[Example]: ...
    def __getitem__(self, row: int | slice) -> Example | list[Example]:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        return self._draw(self._examples[row], HELD_OUT, row)

    def __iter__(self) -> Iterator[Example]:
        return (self[row] for row in range(len(self)))

    def lengths(self) -> np.ndarray:
        """Tokens of each example as it was before."""
        own: Any = self._examples
        if hasattr(own, "lengths"):
            return np.asarray(own.lengths(), dtype=np.int64)
        return np.array([len(e["input_ids"]) if "input_ids" in e else 1 for e in own], dtype=np.int64)


HELD_OUT = 2**31 - 1
"""In the place of an epoch, for rows that are only ever scored."""


def drawing(corrupt: Corrupt, seed: int) -> Callable[[Example, int, int], Example]:
    """What the loop makes of an example in an epoch: (example, epoch, row) -> example with answers."""

    def draw(example: Example, epoch: int, row: int) -> Example:
        return corrupt(example, np.random.default_rng([seed, epoch, row]))

    return draw
