"""Masked language modelling: hide some tokens of a text, learn to tell which they were.

Devlin et al. 2019, "BERT" (arXiv:1810.04805), with masks drawn anew each time a text is seen, as Liu et al. 2019,
"RoBERTa" (arXiv:1907.11692). What is not masked costs no vocabulary of logits.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM

from ftcli.contract import Batch, Example, Outputs, Prediction, Row
from ftcli.data.examples import lengths
from ftcli.data.masking import mask_tokens
from ftcli.data.pieces import Pieces, cut
from ftcli.data.texts import pad, tokenize
from ftcli.errors import UsageError
from ftcli.losses.supervised import cross_entropy
from ftcli.models.heads import at_places, head_at_places
from ftcli.models.unpadded import FlatRows, known_rows
from ftcli.models.vocabulary import begins_word
from ftcli.objectives.texts import TextObjective
from ftcli.recipe.schema import Recipe

MASK_RATE = 0.15
"""Share of the tokens hidden, as in the paper."""
SHOWN = 5
"""Candidates given for each mask."""
PROMPT_WORDS = 12


class MaskedLanguageModelling(TextObjective):
    """Tokens of one text, told from the others."""

    name = "mlm"
    terms: tuple[str, ...] = ("mlm",)
    auto_class: Any = AutoModelForMaskedLM

    def __init__(self, tokenizer: Any, max_length: int, recipe: Recipe) -> None:
        super().__init__(tokenizer, max_length, recipe)
        if tokenizer.mask_token_id is None:
            raise UsageError(
                f"objective {self.name} needs a tokenizer with a mask token",
                hint="--objective clm for a decoder, or a BERT-like --model",
            )
        self.begins = begins_word(tokenizer)
        self._special = np.ones(len(tokenizer), dtype=bool)
        self._special[self.ordinary] = False
        self._model_inputs: set[str] = set()

    def prepare(self, model: nn.Module) -> None:
        head_at_places(model)
        self._model_inputs = set(inspect.signature(model.forward).parameters)

    # Documents -> examples ------------------------------------------------------------------------------------

    def arrange(self, documents: Sequence[Example], seed: int) -> Sequence[Example]:
        """Pieces of at most `max_length` tokens, special ones included, each of one document."""
        room = self.max_length - len(self.frame.before) - len(self.frame.after)
        first = cut(lengths(documents), max(1, room))
        return Pieces(documents, self.frame, first, with_types="token_type_ids" in self.tokenizer.model_input_names)

    def corrupt(self, example: Example, random: np.random.Generator) -> Example:
        """The example with some of its tokens hidden; ``labels`` says which they were, ``places`` where."""
        given = example["input_ids"]
        ids, places, labels = mask_tokens(
            given,
            self._special[given],
            self.begins[given],
            random,
            rate=self.recipe.pretrain.mask_rate or MASK_RATE,
            style=self.recipe.pretrain.mask_style,
            mask_id=self.tokenizer.mask_token_id,
            candidates=self.ordinary,
        )
        return {**example, "input_ids": ids, "places": places, "labels": labels}

    # Examples -> batches --------------------------------------------------------------------------------------

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        """Texts with masks in them, to be filled."""
        return tokenize(self.tokenizer, [row["text"] for row in rows], self.max_length)

    def collate(self, examples: Sequence[Example]) -> Batch:
        padded = pad(self.tokenizer, examples, self.max_length, self.pad_to_multiple)
        batch: Batch = {k: v for k, v in padded.items() if k in self._model_inputs}
        batch["rows"] = FlatRows.of(batch["attention_mask"])
        ids = batch["input_ids"]
        if "labels" in examples[0]:
            batch["per_row"] = [len(example["labels"]) for example in examples]
            starts = np.repeat(np.arange(len(examples)) * ids.shape[1], batch["per_row"])
            batch["places"] = torch.from_numpy(starts + np.concatenate([e["places"] for e in examples]))
            batch["labels"] = torch.from_numpy(np.concatenate([e["labels"] for e in examples]).astype(np.int64))
        else:
            masked = ids == self.tokenizer.mask_token_id
            batch["per_row"] = masked.sum(1).tolist()
            batch["places"] = masked.flatten().nonzero().squeeze(1)
        return batch

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"mlm": len(batch["labels"])}

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """Logits (targets, vocabulary) by term."""
        return {"mlm": self._run(model, batch).logits[0]}

    def _run(self, model: nn.Module, batch: Batch) -> Any:
        with known_rows(batch["rows"]), at_places(batch["places"]):
            return model(**{k: v for k, v in batch.items() if k in self._model_inputs and k != "labels"})

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        return {"mlm": cross_entropy(outputs["mlm"], batch["labels"])}

    # Batches -> answers ---------------------------------------------------------------------------------------

    def decode(self, outputs: Outputs, batch: Batch) -> list[Prediction]:
        """Sums where there are answers; else each text with its masks filled, and the likeliest tokens for each."""
        if "labels" in batch:
            return self.sums(outputs["mlm"], batch["labels"], batch["per_row"])
        likely = torch.softmax(outputs["mlm"].float(), -1)
        likely[:, np.flatnonzero(self._special)] = 0  # no text has them, however likely
        top = likely.topk(min(SHOWN, likely.shape[-1]))
        best, scores, starts = top.indices.cpu(), top.values.tolist(), np.cumsum([0, *batch["per_row"]])
        filled = batch["input_ids"].flatten().clone()
        filled[batch["places"]] = top.indices[:, 0]
        found = []
        for row, ids in enumerate(filled.view(batch["input_ids"].shape).cpu()):
            masks = [
                {"token": self._word(best[i, 0]), "score": scores[i][0],
                 "candidates": {self._word(t): s for t, s in zip(best[i], scores[i], strict=True)}}
                for i in range(starts[row], starts[row + 1])
            ]  # fmt: skip
            text = self.tokenizer.decode(ids, skip_special_tokens=True)
            found.append({"prediction": text, "masks": masks})
        return found

    def _word(self, token: Tensor) -> str:
        return str(self.tokenizer.decode([int(token)])).strip()

    def prompt(self, text: str) -> str:
        """The beginning of a text with a word hidden, for a person to see what the model makes of it."""
        words = text.split()[:PROMPT_WORDS]
        if len(words) > 1:
            longest = max(range(1, len(words)), key=lambda i: len(words[i]))
            words[longest] = self.tokenizer.mask_token
        return " ".join(words)
