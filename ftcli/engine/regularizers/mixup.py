"""Rows mixed in pairs, and their answers with them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Beta

from ftcli.contract import Batch, Outputs
from ftcli.engine.regularizers.base import Ground, Regularizer, one_hot
from ftcli.engine.regularizers.embeddings import Edit, Spans, real_tokens
from ftcli.errors import UsageError
from ftcli.models.layout import moved
from ftcli.models.unpadded import FlatRows


class Mixup(Regularizer):
    """mixup (Zhang et al. 2018, arXiv:1710.09412): a share s of a row and 1 - s of another, s from Beta(alpha, alpha).

    Of images the pixels are mixed; of texts the word embeddings, the shorter text followed by zeros (wordMixup), or
    what the last layer sees (senMixup; Guo et al. 2019, arXiv:1905.08941). That layer is linear, so that mixing its
    results is the same.
    """

    scope = "classification"

    def embeds(self, *, images: bool) -> bool:
        return self.recipe.mixup_at == "inputs" and not images

    def attach(self, ground: Ground) -> None:
        config: Any = getattr(ground.model, "config", None)
        if self.recipe.mixup_at == "inputs" and getattr(config, "is_encoder_decoder", False):
            raise UsageError(
                "regularize.mixup on inputs: a decoder that reads the text again would see it unmixed",
                hint="--set regularize.mixup_at=hidden",
            )

    def mix(self, batch: Batch, classes: int) -> Batch:
        """``partner`` (rows,) and ``share`` (rows,) of each row; its target, and pixels, mixed."""
        labels = batch["labels"]
        share = Beta(self.recipe.mixup, self.recipe.mixup).sample((len(labels),))
        partner = torch.randperm(len(labels))
        found = {**batch, "targets": mixed(one_hot(batch, classes), partner, share)}
        if self.recipe.mixup_at == "hidden":
            return {**found, "mixup": (partner, share)}
        if "pixel_values" in batch:
            return {**found, "pixel_values": mixed(batch["pixel_values"], partner, share)}
        return {**found, **_as_long(batch, partner), "mixup": _Words(real_tokens(batch), partner, share)}

    def edit(self, batch: Batch) -> Edit | None:
        words = batch.get("mixup")
        return words if isinstance(words, _Words) else None

    def outputs(self, outputs: Outputs, batch: Batch) -> Outputs:
        """Logits mixed, where that is asked for."""
        return mixed(outputs, *batch["mixup"]) if self.recipe.mixup_at == "hidden" else outputs


def mixed(x: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """(rows, ...): `share` of each row and the rest of its `partner`."""
    of_own = moved(share, x.device).to(x.dtype).view(-1, *[1] * (x.ndim - 1))
    return of_own * x + (1 - of_own) * x[moved(partner, x.device)]


def _as_long(batch: Batch, partner: Tensor) -> Batch:
    """A batch of texts in which each row is as long as the longer of the two, filled with its partner's tokens."""
    real = real_tokens(batch)
    longer = real | real[partner]
    device = batch["input_ids"].device
    own, other = moved(real, device), moved(partner, device)
    filled: Batch = {
        name: torch.where(own, batch[name], batch[name][other])
        for name in ("input_ids", "token_type_ids")
        if name in batch
    }
    mask = batch.get("attention_mask")
    kind = torch.int64 if mask is None else mask.dtype
    return {**filled, "attention_mask": moved(longer, device).to(kind), "rows": FlatRows.of(longer.long())}


class _Words:
    """The edit that mixes embedded tokens at the same place of two rows; past the end of a row there is nothing."""

    def __init__(self, real: Tensor, partner: Tensor, share: Tensor) -> None:
        longer, count = real | real[partner], len(real)
        order = torch.full(real.shape, 0).masked_scatter(longer, torch.arange(int(longer.sum())))
        row = torch.arange(count)[:, None].expand_as(real)[longer]
        self.other = order[partner][longer]
        """(tokens,) the token of the partner at the same place."""
        self.of_own = (share[row] * real[longer])[:, None]
        self.of_other = ((1 - share)[row] * real[partner][longer])[:, None]

    def __call__(self, tokens: Tensor, spans: Spans) -> Tensor:
        other, of_own, of_other = (moved(x, tokens.device) for x in (self.other, self.of_own, self.of_other))
        return of_own * tokens + of_other * tokens[other]
