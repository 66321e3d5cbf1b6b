"""What tasks with a head over whole texts share: one text or a pair in, a row of numbers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

from ftcli.contract import Batch, Example, Row
from ftcli.data.texts import PAD_TO_MULTIPLE, Frame, pad, set_up, settings, tokenize
from ftcli.models.adapted import input_names
from ftcli.models.unpadded import FlatRows, known_rows


class TextInputs:
    """Rows to token ids, batches to the head's outputs. A row with a ``text_b`` is a pair."""

    first_only = True
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
        self._between: str | None = None

    def prepare(self, model: nn.Module) -> None:
        """Learn which inputs the model's forward pass takes."""
        self._model_inputs = input_names(model)

    def inputs(self, rows: Sequence[Row]) -> list[Example]:
        """The token ids of each row."""
        texts = [row["text"] for row in rows]
        if "text_b" not in rows[0]:
            return tokenize(self.tokenizer, texts, self.max_length)
        between = self.between()
        return tokenize(
            self.tokenizer, [text + between for text in texts], self.max_length, [row["text_b"] for row in rows]
        )

    def between(self) -> str:
        """What tells the texts of a pair apart where the tokenizer puts nothing between them: the end of a text."""
        if self._between is None:
            tokenizer = self.tokenizer
            own = Frame.of(tokenizer).between
            self._between = "" if own else str(tokenizer.sep_token or tokenizer.eos_token or "\n")
        return self._between

    def inputs_from(self) -> dict[str, Any] | None:
        """All that `inputs` depends on beside the rows; None where it cannot be told."""
        of_tokenizer = settings(self.tokenizer)
        return None if of_tokenizer is None else {**of_tokenizer, "max_length": self.max_length}

    def batch(self, examples: Sequence[Example]) -> Batch:
        """The model's inputs, padded, and where their real tokens are."""
        padded = pad(self.tokenizer, examples, self.max_length, self.pad_to_multiple)
        batch: Batch = {k: v for k, v in padded.items() if k in self._model_inputs}
        batch["rows"] = FlatRows.of(batch["attention_mask"])
        return batch

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        """(rows, outputs of the head)."""
        with known_rows(batch["rows"]):
            return model(**self._of_model(batch)).logits  # type: ignore[no-any-return]

    def _of_model(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in batch.items() if k in self._model_inputs and k != "labels"}
