"""Attention over sequences of unequal length that lie one after the other, without padding between them.

On the CPU, sequences of like length are taken together in portions small enough for the cache, and dropout on the
attention probabilities stays as fast as its absence; on CUDA, flash attention's kernels for variable lengths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ftcli.models.dropout import dropped_share, keep_mask, kept
from ftcli.models.layout import Group, Layout
from ftcli.models.row_random import Words, bits, row_streams

_BLOCKED = -1e30
"""Score of a key that must not be seen: finite, so that rows of padding stay numbers."""


@dataclass(frozen=True)
class Sight:
    """The keys of its sequence that a query sees: at a distance of at most `window`, where `causal` none after it."""

    window: int | None = None
    """None for no limit."""
    causal: bool = False

    @property
    def sides(self) -> tuple[int, int]:
        """How far a query sees to the left and to the right as flash attention counts; -1 for no limit."""
        side = -1 if self.window is None else self.window
        return side, 0 if self.causal else side

    def cuts(self, width: int) -> bool:
        """True where the window is narrower than a sequence of `width`."""
        return self.window is not None and width > self.window + 1

    def hidden(self, width: int) -> Tensor | None:
        """(width, width) true where the key of a column is out of sight of a row's query; None where none is."""
        if not self.causal and not self.cuts(width):
            return None
        reach = width if self.window is None else self.window
        place = torch.arange(width)
        behind = place[:, None] - place
        return (behind < 0) | (behind > reach) if self.causal else behind.abs() > reach


EVERYTHING = Sight()


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    *,
    scale: float,
    dropout: float,
    sight: Sight = EVERYTHING,
) -> Tensor:
    """softmax(query key^T * scale) value, each sequence by itself.

    `query` and the result are (tokens, heads, size of a head), `key` and `value` too or, where several heads of the
    query share one of theirs, with as many times fewer heads (grouped-query attention, Ainslie et al. 2023,
    arXiv:2305.13245). `dropout` falls on the probabilities.
    """
    query, key, value = _halved(query, key, value)
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        key, value = (x.repeat_interleave(shared, dim=1) for x in (key, value))
    if layout.filler:
        query, key, value = (x[: layout.tokens] for x in (query, key, value))
        out = _attend(query, key, value, layout, scale, dropout, sight)
        return nn.functional.pad(out, (0, 0, 0, 0, 0, layout.filler))
    return _attend(query, key, value, layout, scale, dropout, sight)


def _halved(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Under autocast all of them in its type, as torch's own attention has them: projections of some methods (peft's
    VeRA and OFT) come out whole."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    return tuple(tensor.to(torch.get_autocast_dtype(device)) for tensor in tensors)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float, dropout: float, sight: Sight
) -> Tensor:
    if query.device.type == "cuda":
        ends, longest = layout.boundaries, layout.longest
        return _flash(query, key, value, (ends, ends), (longest, longest), scale, dropout, sight)
    if not dropout:
        return _plain(query, key, value, layout, scale, sight)
    return _Attention.apply(query, key, value, layout, scale, dropout, sight)  # type: ignore[no-any-return, no-untyped-call]


def attend_from_first(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, *, scale: float, dropout: float
) -> Tensor:
    """`attend` for the first token of each sequence only: `query` and the result are (sequences, heads, size)."""
    query, key, value = _halved(query, key, value)
    if query.device.type == "cuda":
        return _flash(
            query, key, value, (layout.single, layout.boundaries), (1, layout.longest), scale, dropout, EVERYTHING
        )
    parts = []
    keys = _keys(layout) if dropout else None
    for group in layout.groups:
        k, v = (_by_sequence(x, group) for x in (key, value))
        q = query[group.sequences][:, :, None]
        if keys is not None:
            scores = (q * scale) @ k.transpose(-1, -2)
            if group.blocked is not None:
                scores = scores.masked_fill(group.blocked, _BLOCKED)
            share = dropped_share(dropout)
            mask = _kept(group, layout, keys, q.shape[1], dropout, 1).view(scores.shape).to(scores.dtype)
            used = torch.softmax(scores, -1) * mask * (1 / (1 - share) if share < 1 else 0.0)
            parts.append((used @ v)[:, :, 0])
            continue
        seen = None if group.blocked is None else ~group.blocked
        parts.append(
            nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=dropout, scale=scale)[:, :, 0]
        )
    order = torch.tensor([row for group in layout.groups for row in group.sequences])
    return torch.cat(parts)[torch.argsort(order)]


def _flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    ends: tuple[Tensor, Tensor],
    longest: tuple[int, int],
    scale: float,
    dropout: float,
    sight: Sight,
) -> Tensor:
    left, right = sight.sides
    if not dropout:
        from torch.nn.attention.varlen import varlen_attn

        found = varlen_attn(query, key, value, *ends, *longest, scale=scale, window_size=(left, right))
    else:
        # What varlen_attn itself calls; the public function takes no dropout.
        found = torch.ops.aten._flash_attention_forward(
            query, key, value, *ends, *longest, dropout, (left, right) == (-1, 0), False,
            scale=scale, window_size_left=left, window_size_right=right,
        )[0]  # fmt: skip
    assert isinstance(found, Tensor)
    return found


def _plain(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float, sight: Sight) -> Tensor:
    """Torch's own attention, group by group."""
    found = []
    for group in layout.groups:
        q, k, v = (_by_sequence(x, group) for x in (query, key, value))
        seen, triangle = _seen(group, sight)
        y = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scale, is_causal=triangle)
        y = y.transpose(1, 2).flatten(0, 1)
        found.append(y if group.real is None else y.index_select(0, group.real))
    together = torch.cat(found)
    return together if layout.inverse is None else together.index_select(0, layout.inverse)


def _seen(group: Group, sight: Sight) -> tuple[Tensor | None, bool]:
    """A mask for torch's own attention, true where a key is seen, and whether it is the lower triangle instead."""
    if sight.causal and not sight.cuts(group.width):
        return None, True  # padding comes after all that is real: hidden already
    hidden = sight.hidden(group.width)
    seen = None if group.blocked is None else ~group.blocked
    if hidden is not None:
        # Each place sees itself, so that rows of padding stay numbers.
        seen = ~hidden if seen is None else seen & ~hidden | torch.eye(group.width, dtype=torch.bool)
    return seen, False


class _Attention(torch.autograd.Function):
    """Attention group by group; probabilities are kept for the backward pass, negative where dropout fell."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layout: Layout,
        scale: float,
        dropout: float,
        sight: Sight,
    ) -> Tensor:
        share = dropped_share(dropout)
        rescale = 1 / (1 - share) if share < 1 else 0.0
        scaled, out = query * scale, torch.empty_like(query)
        keys = _keys(layout) if share else None
        kept: list[Tensor] = []
        for group in layout.groups:
            q, k, v = (_take(x, group) for x in (scaled, key, value))
            scores = torch.bmm(q, k.transpose(1, 2))
            _block(scores, group, sight)
            probabilities = torch.softmax(scores, -1, out=scores)
            if share:
                # 0, 1 -> -1, 1: one tensor holds both the probability and whether it was kept.
                signs = _kept(group, layout, keys, len(probabilities) // group.count, dropout).mul_(2).sub_(1)
                used = probabilities.mul_(signs.view(probabilities.shape)).clamp_min(0)
            else:
                used = probabilities
            _put(torch.bmm(used, v), out, group)
            kept.append(probabilities)
        if share:
            out.mul_(rescale)
        ctx.save_for_backward(scaled, key, value, out, *kept)
        ctx.layout, ctx.scale, ctx.rescale, ctx.dropped = layout, scale, rescale, bool(share)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scaled, key, value, out, *kept = ctx.saved_tensors
        # The sum over keys of gradient times probability, without the probabilities (as flash attention does).
        along = (grads[0] * out).sum(-1, keepdim=True)
        grad = grads[0] * ctx.rescale
        d_query, d_key, d_value = (torch.empty_like(x) for x in (scaled, key, value))
        for group, probabilities in zip(ctx.layout.groups, kept, strict=True):
            q, k, v, g, total = (_take(x, group) for x in (scaled, key, value, grad, along))
            if group.blocked is not None:  # what padding repeats must not count twice
                padded = group.blocked.view(group.count, 1, group.width, 1)
                for x in (g, total):
                    x.view(group.count, -1, *x.shape[1:]).masked_fill_(padded, 0)
            used = probabilities.clamp_min(0) if ctx.dropped else probabilities
            _put(torch.bmm(used.transpose(1, 2), g), d_value, group)
            d_scores = torch.bmm(g, v.transpose(1, 2)).mul_(used)
            d_scores.addcmul_(probabilities.abs() if ctx.dropped else probabilities, total, value=-1)
            _put(torch.bmm(d_scores, k), d_query, group)
            _put(torch.bmm(d_scores.transpose(1, 2), q), d_key, group)
        return d_query.mul_(ctx.scale), d_key, d_value, None, None, None, None


def _keys(layout: Layout) -> Words | None:
    """A key for each sequence, of one call; None where random numbers are torch's own."""
    streams = row_streams()
    return None if streams is None else streams.keys(len(layout.lengths))


def _kept(
    group: Group, layout: Layout, keys: Words | None, heads: int, dropout: float, queries: int | None = None
) -> Tensor:
    """`keep_mask` for the probabilities (count, heads, width, width) of a group's sequences, by row where rows are
    known: what a sequence gets is the same in whatever group it lies. `queries` are those looked at, if not all."""
    streams, width = row_streams(), group.width
    if streams is None or keys is None:
        mask: Tensor = keep_mask(group.count * heads * (queries or width) * width, dropout)
        return mask
    sizes = [layout.lengths[i] for i in group.sequences]
    drawn = bits(keys[group.sequences], [heads * (queries or size) * size for size in sizes])
    if group.blocked is None:
        return kept(drawn, dropout)
    found = torch.zeros(group.count, heads, queries or width, width, dtype=torch.int16)
    start = 0
    for place, size in enumerate(sizes):
        shape = (heads, queries or size, size)
        stop = start + math.prod(shape)
        found[place, :, : shape[1], :size] = drawn[start:stop].view(shape)
        start = stop
    return kept(found.view(-1), dropout)


def _take(x: Tensor, group: Group) -> Tensor:
    """(tokens, heads, size) -> (count * heads, width, size) of the group's sequences."""
    heads, size = x.shape[1:]
    if group.source is not None:
        return x.reshape(-1, size).index_select(0, group.of_heads(heads)[0]).view(-1, group.width, size)
    part = x[group.rows]
    if group.count == 1:
        return part.transpose(0, 1)
    return part.view(group.count, group.width, heads, size).transpose(1, 2).reshape(-1, group.width, size)


def _by_sequence(x: Tensor, group: Group) -> Tensor:
    """(tokens, heads, size) -> (count, heads, width, size) of the group's sequences."""
    part = _take(x, group)
    return part.view(group.count, -1, *part.shape[1:])


def _put(x: Tensor, out: Tensor, group: Group) -> None:
    """The inverse of `_take`: real tokens into their places of `out`."""
    heads, size = out.shape[1:]
    if group.source is None:
        by_token = x.view(group.count, heads, group.width, size).transpose(1, 2)
        out[group.rows].view(group.count, group.width, heads, size).copy_(by_token)
        return
    _, real, target = group.of_heads(heads)
    flat = x.reshape(-1, size)
    out.view(-1, size).index_copy_(0, target, flat if group.blocked is None else flat.index_select(0, real))


def _block(scores: Tensor, group: Group, sight: Sight) -> None:
    if group.blocked is not None:
        scores.view(group.count, -1, group.width, group.width).masked_fill_(group.blocked, _BLOCKED)
    hidden = sight.hidden(group.width)
    if hidden is not None:
        scores.masked_fill_(hidden, _BLOCKED)
