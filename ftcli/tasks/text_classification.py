"""One label per text: sentiment, topics, intents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from ftcli.contract import Batch, Example, Outputs, Row
from ftcli.data.texts import PAD_TO_MULTIPLE, TEXT, pad, set_up, settings, tokenize
from ftcli.models.adapted import input_names
from ftcli.models.unpadded import FlatRows, known_rows
from ftcli.tasks.classification import LABEL, Classification


class TextClassification(Classification):
    """Sequence classification by the architecture's own head."""

    name = "text-classification"
    columns = (TEXT, LABEL)
    main_metric = "f1_macro"
    first_only = True
    auto_class = AutoModelForSequenceClassification

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.pad_to_multiple = PAD_TO_MULTIPLE
        self._model_inputs: set[str] = {"input_ids", "attention_mask"}
        set_up(tokenizer, max_length)

    def prepare(self, model: nn.Module) -> None:
        """Learn which inputs the model's forward pass takes."""
        self._model_inputs = input_names(model)

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        examples = tokenize(self.tokenizer, [row["text"] for row in rows], self.max_length)
        for row, example in zip(rows, examples, strict=True):
            if row.get("label") is not None:
                example["label"] = self._id(row["label"])
        return examples

    def encoding(self) -> Mapping[str, Any] | None:
        """All that `encode` depends on beside the row; None where it cannot be told."""
        of_tokenizer = settings(self.tokenizer)
        if of_tokenizer is None:
            return None
        positions = None if self._positions is None else sorted(self._positions.items())
        return {**of_tokenizer, "max_length": self.max_length, "labels": self.labels, "positions": positions}

    def collate(self, examples: Sequence[Example]) -> Batch:
        padded = pad(self.tokenizer, examples, self.max_length, self.pad_to_multiple)
        batch: Batch = {k: v for k, v in padded.items() if k in self._model_inputs}
        batch["rows"] = FlatRows.of(batch["attention_mask"])
        if "label" in examples[0]:
            batch["labels"] = torch.tensor([e["label"] for e in examples], dtype=torch.int64)
        return batch

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        with known_rows(batch["rows"]):
            return model(**{k: v for k, v in batch.items() if k in self._model_inputs and k != "labels"}).logits
