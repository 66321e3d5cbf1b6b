"""One label per sound: what is said, who speaks, what is heard."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import AutoModelForAudioClassification

from ftcli.contract import Batch, Claim, Column, Example, Row, Table
from ftcli.data.sounds import AUDIO
from ftcli.models.audio_processors import Hearing
from ftcli.recipe.schema import Recipe
from ftcli.tasks.classification import LABEL, Classification
from ftcli.tasks.sound_inputs import SoundInputs
from ftcli.tasks.tables import class_columns


class AudioClassification(SoundInputs, Classification):
    """Audio classification by the architecture's own head."""

    name = "audio-classification"
    columns: tuple[Column, ...] = (AUDIO, LABEL)
    main_metric = "accuracy"
    auto_class = AutoModelForAudioClassification

    def __init__(self, processor: Hearing, max_length: int, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.hearing = processor

    @classmethod
    def recognise(cls, table: Table) -> Claim | None:
        """A column of sounds and one of classes."""
        sounds = table.looking("audio")
        labels, certain = class_columns(table, LABEL.names)
        if not sounds or not labels:
            return None
        return Claim(3 if certain else 2, f"'{sounds[0]}' holds sounds and '{labels[0]}' classes")

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        examples = self.heard(rows)
        for row, example in zip(rows, examples, strict=True):
            if row.get("label") is not None:
                example["label"] = self._id(row["label"])
        return examples

    def collate(self, examples: Sequence[Example]) -> Batch:
        batch: Batch = self.waves.collate(examples)
        if "label" in examples[0]:
            batch["labels"] = torch.tensor([e["label"] for e in examples], dtype=torch.int64)
        return batch

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        """(rows, classes)."""
        return model(**self.given(batch)).logits  # type: ignore[no-any-return]
