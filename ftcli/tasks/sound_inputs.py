"""What tasks of sounds share: one sound in, whatever a model makes of it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from ftcli.contract import Batch, Claim, Column, Example, Row, Strength, Table
from ftcli.data.waves import Waves
from ftcli.models.adapted import input_names
from ftcli.models.audio_processors import Hearing
from ftcli.recipe.schema import Recipe

TRANSCRIPT = Column(
    "transcript",
    "text",
    ("transcript", "transcription", "sentence", "text", "normalized_text", "raw_transcription", "words", "label"),
    required=False,
    answer=True,
)


def spoken(table: Table) -> Claim | None:
    """The claim of tasks that write down what is said: a column of sounds and one of texts."""
    sounds = table.looking("audio")
    named = table.named(TRANSCRIPT.names[:-1], ("text", "word", "class"))
    texts = named or table.looking("text")
    if not sounds or not texts:
        return None
    strength: Strength = 3 if named else 2
    return Claim(strength, f"'{sounds[0]}' holds sounds and '{texts[0]}' what is said")


class SoundInputs:
    """Rows to features, batches to what the model is called with."""

    hearing: Hearing
    recipe: Recipe
    pad_to_multiple = 1
    _waves: Waves | None = None

    def prepare(self, model: nn.Module) -> None:
        """Learn how the model is given sounds."""
        inputs = input_names(model)
        self._waves = Waves(self.hearing.extractor, model.config, inputs, self.recipe.audio.max_seconds)

    @property
    def waves(self) -> Waves:
        """Rows to features and features to batches, as this model takes them."""
        assert self._waves is not None, "the model comes first"
        return self._waves

    def augments(self, *, from_scratch: bool) -> bool:
        """Whether training examples are varied."""
        asked = self.recipe.audio.augment
        return from_scratch if asked is None else asked

    def augment(self, example: Example, random: np.random.Generator) -> Example:
        """A training example as it is heard this time."""
        return self.waves.varied(example, random)

    def encoding(self) -> Mapping[str, Any] | None:
        """None: features take many times the room of the files they come from, and are not kept for another run."""
        return None

    def remarks(self, split: str, examples: Sequence[Example]) -> list[str]:
        """How many sounds were cut."""
        cut = sum(bool(example["truncated"]) for example in examples)
        longest = self.recipe.audio.max_seconds
        said = f"{split}: {cut:,} of {len(examples):,} sounds ({cut / len(examples):.1%}) are longer than {longest:g} s"
        return [f"{said} and were cut (audio.max_seconds)"] if cut else []

    def heard(self, rows: Sequence[Row]) -> list[Example]:
        """The features of each row's sound."""
        return self.waves.encode(rows)

    def given(self, batch: Batch) -> dict[str, Any]:
        """What of a batch goes into the model."""
        return {name: batch[name] for name in (self.waves.name, "attention_mask") if name in batch}
