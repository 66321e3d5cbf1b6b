"""Masked language modelling with a second question: do two pieces of text belong together, and in this order?

Next-sentence prediction is BERT's (Devlin et al. 2019, arXiv:1810.04805), sentence-order prediction ALBERT's (Lan et
al. 2020, arXiv:1909.11942).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForPreTraining

from ftcli.contract import Batch, Example, Outputs, Prediction
from ftcli.data.examples import lengths
from ftcli.data.pieces import Pieces, cut
from ftcli.errors import DataError, UsageError
from ftcli.losses.supervised import cross_entropy
from ftcli.models.load import Source
from ftcli.objectives.mlm import MaskedLanguageModelling

HEADED = ("bert", "albert", "mobilebert", "megatron-bert")
"""Architectures whose pretraining class has a head over pairs."""
SHORTEST = 8
"""Tokens a piece needs to be split in two."""


class SentencePairs(MaskedLanguageModelling):
    """Two pieces of text in one example; label 0 where they follow each other, as the architectures' heads have it."""

    question: str
    auto_class = AutoModelForPreTraining

    def build_model(self, source: Source) -> tuple[torch.nn.Module, list[str]]:
        if source.config.model_type not in HEADED:
            raise UsageError(
                f"{source.name} ({source.config.model_type}) has no head for {self.name}; {', '.join(HEADED)} have",
                hint="--objective mlm",
            )
        return super().build_model(source)

    def arrange(self, documents: Sequence[Example], seed: int) -> Sequence[Example]:
        """Pairs from pieces of the documents, split at the end of a sentence near their middle, half of them wrong."""
        frame, random = self.frame, np.random.default_rng([seed, len(documents)])
        room = self.max_length - len(frame.before) - len(frame.between) - len(frame.after)
        runs = cut(lengths(documents), room, shortest=SHORTEST)
        if len(np.unique(runs[:, 0])) < 2:
            raise DataError(f"objective {self.name} needs at least two documents of {SHORTEST} tokens or more")
        ends = np.isin(np.arange(len(self.tokenizer)), self._sentence_ends())
        middle = np.array([self._split(documents[int(d)]["input_ids"], s, e, ends) for d, s, e in runs])
        first, second = runs.copy(), runs.copy()
        first[:, 2] = second[:, 1] = middle
        wrong = random.random(len(runs)) < 0.5
        first, second = self.spoil(first, second, wrong, random)
        with_types = "token_type_ids" in self.tokenizer.model_input_names
        return Pieces(documents, frame, first, second, {"pair": wrong.astype(np.int64)}, with_types=with_types)

    def spoil(
        self, first: np.ndarray, second: np.ndarray, wrong: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The runs with the `wrong` pairs made wrong."""
        raise NotImplementedError

    def _sentence_ends(self) -> np.ndarray:
        marks = [self.tokenizer.convert_tokens_to_ids(mark) for mark in ".!?。！？"]
        unknown = self.tokenizer.unk_token_id
        return np.array([i for i in marks if i is not None and i != unknown], dtype=np.int64)

    @staticmethod
    def _split(ids: np.ndarray, start: int, end: int, ends: np.ndarray) -> int:
        """After the sentence end nearest the middle of ids[start:end]; the middle where there is none."""
        half = (start + end) // 2
        places = np.flatnonzero(ends[ids[start : end - 1]]) + start + 1
        places = places[places > start]
        return int(places[np.abs(places - half).argmin()]) if len(places) else half

    def collate(self, examples: Sequence[Example]) -> Batch:
        batch = super().collate(examples)
        if "pair" in examples[0]:
            batch["pairs"] = torch.tensor([example["pair"] for example in examples])
        return batch

    def counts(self, batch: Batch) -> dict[str, int]:
        return {**super().counts(batch), self.question: len(batch["pairs"])}

    def forward(self, model: torch.nn.Module, batch: Batch) -> Outputs:
        outputs = self._run(model, batch)
        pairs = outputs.sop_logits if hasattr(outputs, "sop_logits") else outputs.seq_relationship_logits
        return {"mlm": outputs.prediction_logits[0], self.question: pairs}

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        return {**super().losses(outputs, batch), self.question: cross_entropy(outputs[self.question], batch["pairs"])}

    def decode(self, outputs: Outputs, batch: Batch) -> list[Prediction]:
        found = super().decode(outputs, batch)
        if "labels" in batch:
            logits, labels = outputs[self.question].float(), batch["pairs"]
            losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none").tolist()
            right = (logits.argmax(-1) == labels).tolist()
            for answer, loss, is_right in zip(found, losses, right, strict=True):
                answer["nll"][self.question] = loss
                answer["count"][self.question] = 1
                answer["correct"][self.question] = float(is_right)
        return found


class NextSentence(SentencePairs):
    """Does the second piece follow the first, or is it of another document?"""

    name = "mlm+nsp"
    question = "nsp"
    terms = ("mlm", "nsp")

    def spoil(
        self, first: np.ndarray, second: np.ndarray, wrong: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The second piece of another pair, of another document, cut to the room there is."""
        found = second.copy()
        for row in np.flatnonzero(wrong):
            other = int(row)
            while second[other, 0] == first[row, 0]:
                other = int(random.integers(len(second)))
            document, start, end = second[other]
            found[row] = document, start, min(end, start + max(1, second[row, 2] - second[row, 1]))
        return first, found


class SentenceOrder(SentencePairs):
    """Do the two pieces stand in the order of their document?"""

    name = "mlm+sop"
    question = "sop"
    terms = ("mlm", "sop")

    def spoil(
        self, first: np.ndarray, second: np.ndarray, wrong: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The wrong pairs the other way round."""
        swap = wrong[:, None]
        return np.where(swap, second, first), np.where(swap, first, second)
