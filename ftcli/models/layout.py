"""Where the sequences of a batch lie when their tokens follow each other, and which of them are taken together."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

PORTION = 1 << 15
"""Most attention probabilities per head that several sequences are taken together for; more would leave the cache."""
NEAR = 0.8
"""Sequences at least this long, as a share of the longest, are padded to it and taken together."""
CLOSE = 8
"""Or at most this many tokens shorter."""


@dataclass(frozen=True)
class Group:
    """Sequences taken together, padded to `width`."""

    sequences: list[int]
    width: int
    start: int
    """First token, where the sequences are of one length and lie side by side; else -1."""
    source: Tensor | None = None
    """(count * width,) the token for each place; padding repeats a token, and is blocked."""
    real: Tensor | None = None
    """Places that hold a token of their own."""
    target: Tensor | None = None
    """The tokens of these places."""
    by_heads: dict[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict, repr=False)
    """Number of heads -> `source`, `real` and `target` where each head of a token is a row of its own."""
    blocked: Tensor | None = None
    """(count, 1, 1, width) true where a key is padding."""

    @property
    def count(self) -> int:
        return len(self.sequences)

    @property
    def rows(self) -> slice:
        return slice(self.start, self.start + self.count * self.width)

    def of_heads(self, heads: int) -> tuple[Tensor, Tensor, Tensor]:
        """`source`, `real` and `target` for (tokens * heads, size), places in the order (sequence, head, token)."""
        if heads not in self.by_heads:
            assert self.source is not None
            assert self.real is not None
            head = torch.arange(heads)[:, None]
            source = (self.source.view(-1, 1, self.width) * heads + head).flatten()
            inside = torch.zeros(self.count * self.width, dtype=torch.bool).index_fill_(0, self.real, True)
            real = inside.view(-1, 1, self.width).expand(-1, heads, -1).flatten().nonzero().squeeze(1)
            self.by_heads[heads] = source, real, source[real]
        return self.by_heads[heads]

    @property
    def tokens(self) -> Tensor:
        """The tokens of the group, in its order."""
        return torch.arange(self.rows.start, self.rows.stop) if self.target is None else self.target


class Layout:
    """Where each sequence begins and ends among the tokens of a batch, and how attention takes them.

    `filler` tokens follow that belong to no sequence: they see nothing, and nobody sees them.
    """

    def __init__(self, lengths: list[int], device: torch.device, filler: int = 0) -> None:
        self.lengths, self.device, self.filler = lengths, device, filler
        self.starts = np.concatenate([[0], np.cumsum(lengths)]).tolist()
        self.tokens = int(self.starts[-1])
        self.longest = max(lengths, default=0)

    @cached_property
    def boundaries(self) -> Tensor:
        """(sequences + 1,) int32 on the device, as flash attention wants them."""
        return moved(torch.tensor(self.starts, dtype=torch.int32), self.device)

    @cached_property
    def first_tokens(self) -> Tensor:
        """(sequences,) int64 on the device: the place of each sequence's first token."""
        return moved(torch.tensor(self.starts[:-1]), self.device)

    @cached_property
    def single(self) -> Tensor:
        """`boundaries` where each sequence asks for one token only."""
        return moved(torch.arange(len(self.lengths) + 1, dtype=torch.int32), self.device)

    @cached_property
    def groups(self) -> list[Group]:
        """The sequences in groups of like length, each with no more than a portion of scores."""
        return [self._group(rows) for rows in _alike(self.lengths)]

    @cached_property
    def inverse(self) -> Tensor | None:
        """Where each token lies when the groups' tokens follow each other; None where that is its own place."""
        order = torch.cat([group.tokens for group in self.groups])
        places = torch.arange(self.tokens)
        return None if torch.equal(order, places) else torch.empty_like(order).index_copy_(0, order, places)

    def _group(self, rows: list[int]) -> Group:
        lengths = [self.lengths[row] for row in rows]
        width = max(lengths)
        begins = [self.starts[row] for row in rows]
        if all(length == width for length in lengths) and all(
            after - before == width for before, after in pairwise(begins)
        ):
            return Group(rows, width, begins[0])
        place = np.arange(width)
        inside = place < np.asarray(lengths)[:, None]
        source = np.where(inside, np.asarray(begins)[:, None] + place, np.asarray(begins)[:, None]).reshape(-1)
        real = np.flatnonzero(inside.reshape(-1))
        padded = None if inside.all() else torch.from_numpy(~inside)[:, None, None, :]
        return Group(
            rows,
            width,
            -1,
            torch.from_numpy(source),
            torch.from_numpy(real),
            torch.from_numpy(source[real]),
            blocked=padded,
        )


def _alike(lengths: list[int]) -> list[list[int]]:
    """Sequences of like length together, longest first, as many as a portion holds."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    found: list[list[int]] = []
    for row in order:
        if found:
            width = lengths[found[-1][0]]
            near = lengths[row] >= NEAR * width or lengths[row] >= width - CLOSE
            if near and (len(found[-1]) + 1) * width * width <= PORTION:
                found[-1].append(row)
                continue
        found.append([row])
    return [sorted(rows) for rows in found]


def moved(x: Tensor, device: torch.device) -> Tensor:
    """`x` from the host on `device`, without waiting."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" and not x.is_cuda else x
