"""Changes to training batches that keep their answers."""

from __future__ import annotations

from typing import Any

import torch

from ftcli.contract import Batch
from ftcli.errors import UsageError
from ftcli.models.dropout import keep_mask_by_row


class TokenDropout:
    """Hides a random share of the tokens, special ones aside, so that no single word carries a text.

    Word dropout of Iyyer et al. 2015, "Deep Unordered Composition Rivals Syntactic Methods" (ACL), with the mask token
    in the place of what is left out.
    """

    def __init__(self, tokenizer: Any, rate: float) -> None:
        self.rate = rate
        hidden = tokenizer.mask_token_id if tokenizer.mask_token_id is not None else tokenizer.unk_token_id
        if hidden is None:
            raise UsageError(
                "regularize.token_dropout needs a tokenizer with a mask or an unknown token",
                hint="--set regularize.token_dropout=0",
            )
        self.hidden: int = hidden
        self.special = torch.tensor(sorted(set(tokenizer.all_special_ids)))

    def __call__(self, batch: Batch) -> Batch:
        """`batch` with other ``input_ids``, hidden row by row where rows are known."""
        ids = batch["input_ids"]
        hide = (keep_mask_by_row(ids.shape, self.rate) == 0) & ~torch.isin(ids, self.special)
        return {**batch, "input_ids": ids.masked_fill(hide, self.hidden)}
