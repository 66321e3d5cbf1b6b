"""What objectives over texts share: whole documents as tokens, sums over tokens as a report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ftcli.contract import Evaluation, Example, Prediction, Row, Rows
from ftcli.data.pieces import Pieces, token_counts
from ftcli.data.texts import PAD_TO_MULTIPLE, TEXT, Frame, documents, set_up, settings
from ftcli.errors import UsageError
from ftcli.metrics.language import bits_per_byte, perplexity, unigram_baseline
from ftcli.models.load import Source, load_weights
from ftcli.models.vocabulary import token_bytes
from ftcli.objectives.unlabelled import Unlabelled
from ftcli.recipe.schema import Recipe

WRONG_KIND = "--objective mlm for an encoder, clm for a decoder, denoising for an encoder-decoder"


COUNTED = 1000
"""Training examples whose answers are looked at for tokens that no text has."""


class TextObjective(Unlabelled):
    """Documents in, sums out; what is asked of the model between them is the objective's own."""

    name: str
    columns = (TEXT,)
    auto_class: Any
    """Of the transformers library: the model with the objective's head."""
    terms: tuple[str, ...]
    """Loss terms; the first is the one over tokens."""

    def __init__(self, tokenizer: Any, max_length: int, recipe: Recipe) -> None:
        self.tokenizer, self.max_length, self.recipe = tokenizer, max_length, recipe
        self.pad_to_multiple = PAD_TO_MULTIPLE
        set_up(tokenizer, max_length)
        self.frame = Frame.of(tokenizer)
        self.bytes = torch.from_numpy(token_bytes(tokenizer))
        """(vocabulary,) bytes of text that each token stands for."""
        special = set(tokenizer.all_special_ids)
        self.ordinary = np.array([i for i in range(len(tokenizer)) if i not in special])

    # Model ----------------------------------------------------------------------------------------------------

    def build_model(self, source: Source) -> tuple[nn.Module, list[str]]:
        """The model with the objective's head, and the parameters that start fresh."""
        return self._load(source)

    def load_model(self, source: Source) -> nn.Module:
        """A model that was pretrained before."""
        model, fresh = self._load(source)
        if fresh:
            raise UsageError(
                f"{source.name} has no trained head for {self.name} (missing: {', '.join(fresh[:4])})",
                hint=f"pretrain one first: ftcli pretrain --objective {self.name} --model {source.name} --data D",
            )
        return model

    def prepare(self, model: nn.Module) -> None:
        """What the objective needs to know of its model, or to change in it."""

    def _load(self, source: Source) -> tuple[nn.Module, list[str]]:
        model, fresh = load_weights(source, self.auto_class, source.config, WRONG_KIND)
        self.prepare(model)
        return model, fresh

    # Rows -> documents ----------------------------------------------------------------------------------------

    def documents(self, rows: Sequence[Row]) -> list[Example]:
        """Each text whole, without special tokens."""
        return documents(self.tokenizer, [row["text"] for row in rows])

    def encoding(self) -> Mapping[str, Any] | None:
        """All that `documents` depends on beside the row; None where it cannot be told."""
        of_tokenizer = settings(self.tokenizer)
        return None if of_tokenizer is None else {**of_tokenizer, "documents": 1}

    def baseline(self, examples: Sequence[Example], validation: Sequence[Example]) -> dict[str, float]:
        """The loss of a model that knows only how often each token occurs."""
        if not isinstance(examples, Pieces):
            return {}
        size, seed = len(self.tokenizer), self.recipe.seed
        counts = self.occurrences(examples.documents)
        rows = range(0, len(examples), max(1, len(examples) // COUNTED))
        some = _targets([self.corrupt(examples[row], np.random.default_rng([seed, 0, row])) for row in rows], size)
        # What an objective adds (sentinels, ends) is in no document: as often as beside the text of those answers.
        added = np.where(counts == 0, some, 0)
        counts = counts + added * counts.sum() / max(1, some.sum() - added.sum())
        return {"unigram_loss": unigram_baseline(counts, _targets(validation, size))}

    def corrupt(self, example: Example, random: np.random.Generator) -> Example:
        """The example with its answers."""
        raise NotImplementedError

    def occurrences(self, documents: Sequence[Example]) -> np.ndarray:
        """(vocabulary,) how often each token occurs where it could have to be told."""
        return token_counts(documents, len(self.tokenizer))

    # Sums -> report -------------------------------------------------------------------------------------------

    def sums(self, logits: Tensor, labels: Tensor, per_row: Sequence[int]) -> list[Prediction]:
        """For each row, which has so many of the `labels` (targets,): the sums its part of a report is made of."""
        losses = torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")
        return self.added(losses, logits.argmax(-1) == labels, labels, per_row)

    def added(self, losses: Tensor, right: Tensor, labels: Tensor, per_row: Sequence[int]) -> list[Prediction]:
        """The same from the loss of each of the `labels` and whether it was the likeliest."""
        size = self.bytes.to(labels.device)[labels].float()
        rows = torch.repeat_interleave(torch.arange(len(per_row)), torch.tensor(per_row)).to(labels.device)
        zero = torch.zeros(len(per_row), device=labels.device)
        nll, correct, bytes_ = (zero.index_add(0, rows, x.float()).tolist() for x in (losses, right, size))
        term = self.terms[0]
        return [
            {"nll": {term: n}, "count": {term: count}, "correct": {term: c}, "bytes": b}
            for n, count, c, b in zip(nll, per_row, correct, bytes_, strict=True)
        ]

    def score(self, rows: Rows, predictions: Sequence[Prediction], *, bootstrap: int, seed: int) -> Evaluation:
        """Perplexity, bits per byte and accuracy over the targets of all rows; a loss and an accuracy per term."""
        total = {
            what: {term: math.fsum(p[what][term] for p in predictions) for term in self.terms}
            for what in ("nll", "count", "correct")
        }
        tokens, others = self.terms[0], self.terms[1:]
        loss = total["nll"][tokens] / max(1, total["count"][tokens])
        metrics = {
            "perplexity": perplexity(loss),
            "bits_per_byte": bits_per_byte(total["nll"][tokens], round(math.fsum(p["bytes"] for p in predictions))),
            "accuracy": total["correct"][tokens] / max(1, total["count"][tokens]),
        }
        if others:
            metrics[f"{tokens}_loss"] = loss
        for term in others:
            count = max(1, total["count"][term])
            metrics |= {f"{term}_loss": total["nll"][term] / count, f"{term}_accuracy": total["correct"][term] / count}
        return Evaluation(metrics)

    def metric_names(self) -> list[str]:
        nothing: Prediction = {what: dict.fromkeys(self.terms, 0) for what in ("nll", "count", "correct")}
        return ["loss", *self.score([], [{**nothing, "bytes": 1.0}], bootstrap=0, seed=0).metrics]  # type: ignore[arg-type]


def _targets(examples: Iterable[Example], vocabulary: int) -> np.ndarray:
    """(vocabulary,) how often each token is asked for."""
    return np.bincount(np.concatenate([example["labels"] for example in examples]), minlength=vocabulary)
