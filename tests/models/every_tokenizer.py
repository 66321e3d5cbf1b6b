"""Trains a tokenizer of every kind and saves it: `python tests/models/every_tokenizer.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from ftcli.models.tokenizers import KINDS, train_tokenizer
from ftcli.recipe.schema import TokenizerRecipe

TEXTS = [
    "The running man sings; the singing man runs.",
    "彼は歌う。世界の歌、そしてカタカナ。",
    "我爱唱歌，世界也爱唱歌。 mixed 中文 text",
    "naïve café, Ångström\u0301, İstanbul ß ﬁne ｗｉｄｅ ½",
    "😀👍🏽 👩‍👩‍👧 #1 2024-05-06",
    "two  spaces\tand\na line\u00a0break don't",
] * 3


def train(kind: str = "auto", model_type: str = "bert", size: int = 480, **options: Any) -> PreTrainedTokenizerBase:
    """A tokenizer of TEXTS."""
    recipe = TokenizerRecipe(kind=kind, vocab_size=size, **options)  # type: ignore[arg-type]
    return train_tokenizer(TEXTS, recipe, model_type, 64)


def save_all(folder: Path) -> dict[str, bytes]:
    """The files of every kind with few special tokens and with many."""
    for kind in KINDS:
        for model_type in ("bert", "t5"):
            train(kind, model_type, special_tokens="[URL]").save_pretrained(folder / kind / model_type)
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.json")}


if __name__ == "__main__":
    save_all(Path(sys.argv[1]))
