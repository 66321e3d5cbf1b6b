"""What tasks with a head over whole texts share: one text or a pair in, a row of numbers out.

A text longer than the model takes is cut, or read in windows that overlap, whose outputs are pooled; of a pair the
longer text is in windows, each beside the whole other one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

from ftcli.contract import Batch, Example, Row
from ftcli.data.texts import PAD_TO_MULTIPLE, Frame, documents, pad, set_up, settings, tokenize
from ftcli.data.windows import in_windows, pair_in_windows, unfolded, windows
from ftcli.models.adapted import input_names
from ftcli.models.unpadded import FlatRows, known_rows
from ftcli.recipe.schema import Recipe


class TextInputs:
    """Rows to token ids, batches to the head's outputs. A row with a ``text_b`` is a pair."""

    first_only = True
    long_hint = "; --long windows reads them whole"
    recipe: Recipe
    auto_class: Any = AutoModelForSequenceClassification
    tokenizer: Any
    max_length: int
    pad_to_multiple: int

    def take(self, tokenizer: Any, max_length: int) -> None:
        """Set up for texts of at most `max_length` tokens."""
        self.tokenizer, self.max_length = tokenizer, max_length
        self.pad_to_multiple = PAD_TO_MULTIPLE
        self._model_inputs: set[str] = {"input_ids", "attention_mask"}
        set_up(tokenizer, max_length)
        if self.recipe.long.name == "windows":
            self.long_hint = " (the shorter text of a pair, to half of that)"
        self._between: str | None = None
        self._frame: Frame | None = None

    def prepare(self, model: nn.Module) -> None:
        """Learn which inputs the model's forward pass takes."""
        self._model_inputs = input_names(model)

    def inputs(self, rows: Sequence[Row]) -> list[Example]:
        """The token ids of each row."""
        texts = [row["text"] for row in rows]
        if "text_b" not in rows[0]:
            if self.recipe.long.name == "windows":
                return self._in_windows(texts)
            return tokenize(self.tokenizer, texts, self.max_length)
        seconds = [row["text_b"] for row in rows]
        if self.recipe.long.name == "windows":
            return self._pairs_in_windows(texts, seconds)
        return self._pairs(texts, seconds)

    def _pairs(self, texts: Sequence[str], seconds: Sequence[str]) -> list[Example]:
        between = self.between()
        return tokenize(self.tokenizer, [text + between for text in texts], self.max_length, seconds)

    def _pairs_in_windows(self, texts: Sequence[str], seconds: Sequence[str]) -> list[Example]:
        frame, between = self.frame, self.frame.between
        if not between:
            between = tuple(documents(self.tokenizer, [self.between()])[0]["input_ids"])
        room = max(2, self.max_length - frame.size - len(between))
        both = [[text["input_ids"] for text in documents(self.tokenizer, side)] for side in (texts, seconds)]
        fits = [len(first) + len(second) <= room for first, second in zip(*both, strict=True)]
        short = [pair for pair, fit in zip(zip(texts, seconds, strict=True), fits, strict=True) if fit]
        whole = iter(self._pairs([text for text, _ in short], [second for _, second in short]) if short else ())
        with_types = "token_type_ids" in self.tokenizer.model_input_names
        found = []
        for first, second, fit in zip(*both, fits, strict=True):
            if fit:
                example = next(whole)
                example["windows"] = np.array([len(example["input_ids"])], dtype=np.int32)
            else:
                example = pair_in_windows(first, second, frame, between, room, self.recipe.long.overlap)
                if not with_types:
                    del example["token_type_ids"]
            found.append(example)
        return found

    @property
    def frame(self) -> Frame:
        """The special tokens around texts."""
        if self._frame is None:
            self._frame = Frame.of(self.tokenizer)
        return self._frame

    def _in_windows(self, texts: Sequence[str]) -> list[Example]:
        frame = self.frame
        room = max(1, self.max_length - frame.size)
        return [
            in_windows(whole["input_ids"], frame, windows(len(whole["input_ids"]), room, self.recipe.long.overlap))
            for whole in documents(self.tokenizer, texts)
        ]

    def between(self) -> str:
        """What tells the texts of a pair apart where the tokenizer puts nothing between them: the end of a text."""
        if self._between is None:
            tokenizer = self.tokenizer
            own = self.frame.between
            self._between = "" if own else str(tokenizer.sep_token or tokenizer.eos_token or "\n")
        return self._between

    def inputs_from(self) -> dict[str, Any] | None:
        """All that `inputs` depends on beside the rows; None where it cannot be told."""
        of_tokenizer = settings(self.tokenizer)
        long = {"long": self.recipe.long.name, "overlap": self.recipe.long.overlap}
        cut = self.recipe.long.name == "cut"
        return (
            None if of_tokenizer is None else {**of_tokenizer, "max_length": self.max_length, **({} if cut else long)}
        )

    def batch(self, examples: Sequence[Example]) -> Batch:
        """The model's inputs, padded, and where their real tokens are."""
        windowed = "windows" in examples[0]
        rows = unfolded(examples) if windowed else examples
        padded = pad(self.tokenizer, rows, self.max_length, self.pad_to_multiple)
        batch: Batch = {k: v for k, v in padded.items() if k in self._model_inputs}
        batch["rows"] = FlatRows.of(batch["attention_mask"])
        if windowed:
            batch["windows"] = [len(example["windows"]) for example in examples]
        return batch

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        """(rows, outputs of the head)."""
        with known_rows(batch["rows"]):
            logits: Tensor = model(**self._of_model(batch)).logits
        counts = batch.get("windows")
        if counts is None or len(counts) == len(logits):
            return logits
        parts: tuple[Tensor, ...] = torch.split(logits, counts)
        return torch.stack([p.mean(0) if self.recipe.long.pooling == "mean" else p.amax(0) for p in parts])

    def texts_per_row(self, batch: Batch) -> list[int]:
        """Windows of each row."""
        return batch.get("windows") or [1] * len(batch["input_ids"])

    def _of_model(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in batch.items() if k in self._model_inputs and k != "labels"}
