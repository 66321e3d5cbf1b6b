"""Examples with the answers an objective draws for them, by seed and row alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ftcli.contract import Example
from ftcli.data.examples import Examples, lengths

Corrupt = Callable[[Example, np.random.Generator], Example]
Draw = Callable[[Example, int, int], Example]
"""(example, epoch, row) -> the example with its answers."""
HELD_OUT = 2**31 - 1
"""In the place of an epoch, for rows that are only ever scored."""


class Corrupted(Examples):
    """`examples`, each with the answers of `draw` for an epoch of its own: the same whenever it is asked for."""

    def __init__(self, examples: Sequence[Example], draw: Draw) -> None:
        self._examples, self._draw = examples, draw

    def __len__(self) -> int:
        return len(self._examples)

    def example(self, row: int) -> Example:
        """The example of a row, with its answers."""
        return self._draw(self._examples[row], HELD_OUT, row)

    def lengths(self) -> np.ndarray:
        """(rows,) tokens of each example as it was before."""
        return lengths(self._examples)


def drawing(corrupt: Corrupt, seed: int) -> Draw:
    """What the loop makes of an example in an epoch."""

    def draw(example: Example, epoch: int, row: int) -> Example:
        return corrupt(example, np.random.default_rng([seed, epoch, row]))

    return draw
