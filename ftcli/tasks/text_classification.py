"""One label per text: sentiment, topics, intents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ftcli.contract import Batch, Claim, Column, Example, Row, Strength, Table
from ftcli.data.texts import TEXT
from ftcli.recipe.schema import Recipe
from ftcli.tasks.classification import LABEL, Classification
from ftcli.tasks.tables import class_columns, named_pair, one_text, told_apart
from ftcli.tasks.text_inputs import TextInputs


class TextClassification(TextInputs, Classification):
    """Sequence classification by the architecture's own head."""

    name = "text-classification"
    columns: tuple[Column, ...] = (TEXT, LABEL)
    main_metric = "f1_macro"

    def __init__(self, tokenizer: Any, max_length: int, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.take(tokenizer, max_length)

    @classmethod
    def recognise(cls, table: Table) -> Claim | None:
        """A column of text and one of classes, and not the two texts of a pair."""
        labels, certain = class_columns(table, LABEL.names)
        if not labels or named_pair(table) or told_apart(table):
            return None
        text = one_text(table)
        if text is None:
            several = len(table.looking("text")) > 1
            return Claim(2 if len(labels) == 1 else 1, f"'{labels[0]}' holds classes") if several else None
        field, by_name = text
        strength: Strength = 3 if by_name and certain else 2 if len(labels) == 1 or certain else 1
        return Claim(strength, f"'{field}' is text and '{labels[0]}' holds classes")

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        examples = self.inputs(rows)
        for row, example in zip(rows, examples, strict=True):
            if row.get("label") is not None:
                example["label"] = self._id(row["label"])
        return examples

    def encoding(self) -> Mapping[str, Any] | None:
        """All that `encode` depends on beside the row; None where it cannot be told."""
        of_inputs = self.inputs_from()
        if of_inputs is None:
            return None
        positions = None if self._positions is None else sorted(self._positions.items())
        return {**of_inputs, "labels": self.labels, "positions": positions}

    def collate(self, examples: Sequence[Example]) -> Batch:
        batch = self.batch(examples)
        if "label" in examples[0]:
            batch["labels"] = torch.tensor([e["label"] for e in examples], dtype=torch.int64)
        return batch
