"""Embedded tokens within reach: what lies between a model's embeddings and its first layer, padding left out.

A batch's real tokens are (tokens, size), row after row, however the model runs: padded, or as one long row. What an
edit does is therefore the same in both, random numbers included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ftcli.contract import Batch
from ftcli.errors import UsageError
from ftcli.models.layout import moved

HINT = "leave out the keys of regularize that change embeddings (neftune, mixup, fgm, freelb, smart)"


@dataclass(frozen=True)
class Spans:
    """Which tokens are whose."""

    rows: int
    row: Tensor
    """(tokens,) int64: the row of each."""
    places: Tensor
    """(tokens,) int64 into the rows laid end to end, padding included."""
    width: int
    """Tokens of a row with its padding."""

    @property
    def lengths(self) -> Tensor:
        """(rows,) tokens of each."""
        return torch.bincount(self.row, minlength=self.rows)

    def norms(self, x: Tensor) -> Tensor:
        """(tokens, 1): the Euclidean norm of the row of `x` (tokens, size) that a token belongs to."""
        squares = x.new_zeros(self.rows).index_add(0, self.row, x.pow(2).sum(-1))
        return squares.sqrt()[self.row, None]

    def largest(self, x: Tensor) -> Tensor:
        """(tokens, 1): the largest absolute number in a token's row of `x`."""
        found = x.new_zeros(self.rows).scatter_reduce(0, self.row, x.abs().amax(-1), "amax")
        return found[self.row, None]

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> Spans | None:
        """From a batch of texts; None for one of images, whose patches are all real."""
        ids = batch.get("input_ids")
        if ids is None:
            return None
        real = real_tokens(batch)
        places = torch.from_numpy(real.numpy().reshape(-1).nonzero()[0])
        return cls(len(ids), moved(places // ids.shape[1], device), moved(places, device), ids.shape[1])

    @classmethod
    def whole(cls, rows: int, width: int, device: torch.device) -> Spans:
        """Rows of one width without padding."""
        places = torch.arange(rows * width, device=device)
        return cls(rows, places // width, places, width)


def real_tokens(batch: Batch) -> Tensor:
    """(rows, width) bool on the host: which tokens of a batch of texts are no padding."""
    rows, shape = batch.get("rows"), batch["input_ids"].shape
    if rows is not None:  # known there: nobody has to ask the device
        found = torch.zeros(shape[0] * shape[1], dtype=torch.bool)
        return found.index_fill_(0, rows.places, True).view(shape)
    mask = batch.get("attention_mask")
    return torch.ones(shape, dtype=torch.bool) if mask is None else mask.cpu() != 0


Edit = Callable[[Tensor, Spans], Tensor]
"""Embedded real tokens (tokens, size) to what the first layer is to see in their place."""


class Shift:
    """An edit that adds the same numbers in every pass, and learns how the loss would have them changed."""

    def __init__(self, first: Callable[[Tensor, Spans], Tensor]) -> None:
        self._first = first
        self.value: Tensor | None = None
        """(tokens, size)."""
        self.spans: Spans | None = None

    @classmethod
    def at(cls, value: Tensor) -> Shift:
        """By `value`, whatever the tokens are."""
        return cls(lambda tokens, spans: value)

    def __call__(self, tokens: Tensor, spans: Spans) -> Tensor:
        if self.value is None:
            self.value, self.spans = self._first(tokens, spans).detach().requires_grad_(), spans
        return tokens + self.value

    @property
    def known(self) -> tuple[Tensor, Spans]:
        """The numbers and whose they are, once a pass was made."""
        assert self.value is not None
        assert self.spans is not None
        return self.value, self.spans


def unit(gradient: Tensor | None, norms: Tensor) -> Tensor | float:
    """`gradient` over `norms` (tokens, 1); 0 where that is no number (no gradient, or one out of fp16's range)."""
    if gradient is None:
        return 0.0
    return torch.nan_to_num(gradient / norms, nan=0.0, posinf=0.0, neginf=0.0)


class Embeddings:
    """The embeddings of a model; inside `edited`, one forward pass sees what the edits make of its tokens."""

    def __init__(self, model: Any) -> None:
        self._edits: Sequence[Edit] = ()
        self._spans: Spans | None = None
        self._waiting = False
        try:
            first = model.get_input_embeddings()
        except (AttributeError, NotImplementedError):
            first = None
        if not isinstance(first, nn.Module):
            raise UsageError(f"the embeddings of {type(model).__name__} cannot be found", hint=HINT)
        weight, inside = getattr(first, "weight", None), set(first.modules())
        twins = [
            module
            for module in model.modules()
            if isinstance(module, nn.Embedding) and module.weight is weight and module not in inside
        ]
        for module in (first, *twins):  # encoder and decoder may each have one of its own over the same weight
            module.register_forward_hook(self._edit)
        self._name = type(model).__name__

    @contextmanager
    def edited(self, edits: Sequence[Edit], spans: Spans | None) -> Iterator[None]:
        """One forward pass of a batch with these real tokens (None: all, as of images)."""
        if not edits:
            yield
            return
        self._edits, self._spans, self._waiting = edits, spans, True
        try:
            yield
            if self._waiting:
                raise UsageError(f"{self._name} does not use the embeddings it names", hint=HINT)
        finally:
            self._edits, self._spans, self._waiting = (), None, False

    def _edit(self, module: nn.Module, given: Any, found: Tensor) -> Tensor | None:
        """The embeddings' result with the real tokens edited; a second call of a pass (a decoder's) stays as it is."""
        if not self._waiting:
            return None
        self._waiting = False
        if found.ndim != 3:
            raise UsageError(f"{self._name} embeds no sequence of tokens or patches", hint=HINT)
        spans = self._spans or Spans.whole(found.shape[0], found.shape[1], found.device)
        padded = found.shape[:2] == (spans.rows, spans.width)
        flat = found.reshape(-1, found.shape[-1])
        before = flat[spans.places] if padded else flat[: len(spans.places)]
        after = before
        for edit in self._edits:
            after = edit(after, spans)
        after = after.to(flat.dtype)
        if padded:
            return flat.index_copy(0, spans.places, after).view_as(found)
        return torch.cat([after, flat[len(spans.places) :]]).view_as(found)
