"""Soft answers of tasks (`ftcli.distillable`) that are not by themselves what a forward pass gives, and of those whose
are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ftcli.contract import Batch, Outputs
from ftcli.distillable import SoftForm
from ftcli.losses.spans import gathered


class SoftOutputs:
    """Outputs (rows, choices): one target a row, whatever its choices are."""

    soft_form: SoftForm | None = SoftForm("softmax")

    def soft(self, outputs: Outputs, batch: Batch) -> Tensor:
        """The outputs."""
        found: Tensor = outputs
        return found

    def outputs_of(self, soft: Tensor, batch: Batch) -> Outputs:
        """The soft answers."""
        return soft


class SoftTags:
    """Outputs (words, tags) of the words that have a token."""

    soft_form = SoftForm("softmax", ragged=True)

    def soft(self, outputs: Outputs, batch: Batch) -> Tensor:
        """(words, tags), of all words: whatever tokens two models cut a text into, its words are the same."""
        found: Tensor = outputs.new_full((len(batch["has"]), outputs.shape[1]), -torch.inf)
        return found.index_copy(0, _has(batch, outputs), outputs)

    def outputs_of(self, soft: Tensor, batch: Batch) -> Outputs:
        """(words, tags), of the words that have a token."""
        return soft.index_select(0, _has(batch, soft))

    def targets_per_row(self, batch: Batch) -> list[int]:
        """Words of each row."""
        found: list[int] = batch["per_row"]
        return found

    def texts_per_row(self, batch: Batch) -> list[int]:
        """Windows of each row."""
        found: list[int] = batch["windows"]
        return found


def _has(batch: Batch, beside: Tensor) -> Tensor:
    """Places of the words that have a token."""
    return torch.from_numpy(np.flatnonzero(batch["has"])).to(beside.device)


class SoftTexts:
    """Outputs with ``logits`` (tokens, vocabulary) of the tokens of all answers, as `tell` gives them."""

    soft_form = SoftForm("softmax", of_tokens=True)

    def soft(self, outputs: Outputs, batch: Batch) -> Tensor:
        """The logits."""
        found: Tensor = outputs["logits"]
        return found

    def targets_per_row(self, batch: Batch) -> list[int]:
        """Tokens of each answer."""
        found: list[int] = batch["per_row"]
        return found


class SoftSpans:
    """Outputs (2, windows, tokens)."""

    soft_form = SoftForm("softmax", ragged=True, of_tokens=True)

    def soft(self, outputs: Outputs, batch: Batch) -> Tensor:
        """(2 * rows, 1 + tokens of the longest context): no answer, then each token of the context, as the first and as
        the last of the answer. What several windows say of a token is added up, as in the loss."""
        most = 1 + max(len(example["starts"]) for example, _ in batch["known"])
        places = np.zeros(outputs.shape[1:], dtype=np.int64)
        window = 0
        for row, (example, at) in enumerate(batch["known"]):
            for start, before in zip(example["parts"], at, strict=True):
                # Where the first token of the context is in its window, and in the context.
                shift = int(start) - int(before) - int(example["first"])
                places[window] = row * most + (1 + shift + np.arange(places.shape[1])).clip(0, most - 1)
                places[window, before] = row * most
                window += 1
        onto = torch.from_numpy(places).to(outputs.device)
        return gathered(outputs, onto, len(batch["known"]) * most).view(2, -1, most).transpose(0, 1).flatten(0, 1)

    def targets_per_row(self, batch: Batch) -> list[int]:
        """The first token of the answer, and the last."""
        return [2] * len(batch["per_row"])

    def texts_per_row(self, batch: Batch) -> list[int]:
        """Windows of each row."""
        found: list[int] = batch["per_row"]
        return found
