"""One label per image: what is on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForImageClassification

from ftcli.contract import Batch, Example, Outputs, Row
from ftcli.data.pixels import IMAGE, Pixels
from ftcli.models.image_processors import classifier_config
from ftcli.models.load import Source
from ftcli.recipe.schema import Recipe
from ftcli.tasks.classification import LABEL, Classification


class ImageClassification(Classification):
    """Image classification by the architecture's own head; a masked autoencoder lends its encoder."""

    name = "image-classification"
    columns = (IMAGE, LABEL)
    main_metric = "accuracy"
    auto_class = AutoModelForImageClassification

    def __init__(self, processor: Any, max_length: int, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.processor = processor
        self.pad_to_multiple = 1
        self._pixels: Pixels | None = None

    def build_model(self, source: Source) -> tuple[nn.Module, list[str]]:
        return super().build_model(replace(source, config=classifier_config(source.config)))

    def load_model(self, source: Source) -> nn.Module:
        return super().load_model(replace(source, config=classifier_config(source.config)))

    def prepare(self, model: nn.Module) -> None:
        self._pixels = Pixels(self.processor, model.config)

    @property
    def pixels(self) -> Pixels:
        """Rows to pixels and pixels to values, as this model takes them."""
        assert self._pixels is not None, "the model comes first"
        return self._pixels

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        examples = self.pixels.encode(rows)
        for row, example in zip(rows, examples, strict=True):
            if row.get("label") is not None:
                example["label"] = self._id(row["label"])
        return examples

    def augments(self, *, from_scratch: bool) -> bool:
        """Whether training images are changed at random."""
        return self.recipe.image.randaugment > 0

    def augment(self, example: Example, random: np.random.Generator) -> Example:
        """A training image as it is seen this time."""
        wanted = self.recipe.image
        return self.pixels.changed(example, wanted.randaugment, wanted.magnitude, random)

    def encoding(self) -> Mapping[str, Any] | None:
        """None: pixels take many times the room of the files they come from, and are not kept for another run."""
        return None

    def collate(self, examples: Sequence[Example]) -> Batch:
        batch: Batch = self.pixels.collate(examples)
        if "label" in examples[0]:
            batch["labels"] = torch.tensor([e["label"] for e in examples], dtype=torch.int64)
        return batch

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        return model(pixel_values=batch["pixel_values"]).logits
