"""Masked language modelling, and a vector of the whole text: its first token is asked for the words of the text.

Masked tokens alone teach the first token nothing, on which a fine-tuned head will stand; small models never make that
up on little data. After the bag-of-words part of Xiao et al. 2023, "RetroMAE-2: Duplex Masked Auto-Encoder For
Pre-Training Retrieval-Oriented Language Models" (arXiv:2305.02564), here through the head that tells masked tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ftcli.contract import Batch, Example, Outputs, Prediction
from ftcli.objectives.mlm import MaskedLanguageModelling


class BagOfWords(MaskedLanguageModelling):
    """Tokens of one text told from the others, and all of them from the state of the first."""

    name = "mlm+bow"
    terms = ("mlm", "bow")

    def corrupt(self, example: Example, random: np.random.Generator) -> Example:
        """As for masks; ``words`` are the ordinary tokens of the text, each once."""
        words = np.unique(example["input_ids"])
        return {**super().corrupt(example, random), "words": words[~self._special[words]]}

    def collate(self, examples: Sequence[Example]) -> Batch:
        batch = super().collate(examples)
        if "words" in examples[0]:
            rows, width = batch["input_ids"].shape
            batch["places"] = torch.cat([batch["places"], torch.arange(rows) * width])
            batch["words"] = torch.from_numpy(np.concatenate([e["words"] for e in examples]).astype(np.int64))
            batch["words_of"] = torch.from_numpy(np.repeat(np.arange(rows), [len(e["words"]) for e in examples]))
        return batch

    def counts(self, batch: Batch) -> dict[str, int]:
        return {**super().counts(batch), "bow": len(batch["words"])}

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """Logits (targets, vocabulary) of the masked tokens, (rows, vocabulary) of the first ones."""
        logits = super().forward(model, batch)["mlm"]
        if "words" not in batch:
            return {"mlm": logits}
        masked = len(batch["labels"])
        return {"mlm": logits[:masked], "bow": logits[masked:]}

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        return {**super().losses(outputs, batch), "bow": _surprise(outputs["bow"], batch).sum()}

    def decode(self, outputs: Outputs, batch: Batch) -> list[Prediction]:
        """As for masks; of a text's n words, those count as right that are among its n likeliest tokens."""
        found = super().decode(outputs, batch)
        if "words" in batch:
            rank = outputs["bow"].argsort(-1, descending=True).argsort(-1)[batch["words_of"], batch["words"]]
            surprise = _surprise(outputs["bow"], batch)
            for row, answer in enumerate(found):
                own = batch["words_of"] == row
                n = int(own.sum())
                answer["nll"]["bow"], answer["count"]["bow"] = float(surprise[own].sum()), n
                answer["correct"]["bow"] = int((rank[own] < n).sum())
        return found


def _surprise(logits: Tensor, batch: Batch) -> Tensor:
    """(words,) -log p of each word of each text, by the logits of its first token."""
    return -torch.log_softmax(logits.float(), -1)[batch["words_of"], batch["words"]]
