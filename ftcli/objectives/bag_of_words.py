"""Masked language modelling, and a vector of the whole text: its first token is asked for the words of the text.

Masked tokens alone teach the first token nothing, on which a fine-tuned head will stand; small models never make that
up on little data. After the bag-of-words part of Xiao et al. 2023, "RetroMAE-2: Duplex Masked Auto-Encoder For
Pre-Training Retrieval-Oriented Language Models" (arXiv:2305.02564), here through the head that tells masked tokens, and
with frequent words left out now and then, as Mikolov et al. 2013 (arXiv:1310.4546) do: they say little of a text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ftcli.contract import Batch, Example, Outputs, Prediction
from ftcli.objectives.mlm import MaskedLanguageModelling

FREQUENT = 1e-3
"""Share of all tokens above which a word is frequent; it is asked for with probability sqrt(FREQUENT / share)."""


class BagOfWords(MaskedLanguageModelling):
    """Tokens of one text told from the others, and its words from the state of the first."""

    name = "mlm+bow"
    terms = ("mlm", "bow")
    _asked: np.ndarray | None = None
    """(vocabulary,) how probably a word is asked for, by the documents that came first: those trained on."""

    def arrange(self, documents: Sequence[Example], seed: int) -> Sequence[Example]:
        if self._asked is None:
            seen = np.maximum(1, self.occurrences(documents))
            self._asked = np.minimum(1, np.sqrt(FREQUENT * seen.sum() / seen))
        return super().arrange(documents, seed)

    def corrupt(self, example: Example, random: np.random.Generator) -> Example:
        """As for masks; ``words`` are ordinary tokens of the text, each once, the frequent ones now and then."""
        words = np.unique(example["input_ids"])
        words = words[~self._special[words]]
        corrupted = super().corrupt(example, random)
        assert self._asked is not None, "examples come from `arrange`"
        return {**corrupted, "words": words[random.random(len(words)) < self._asked[words]]}

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
