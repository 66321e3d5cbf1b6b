"""What a task's models are given: texts, images or sounds; and what to say to who has others."""

from __future__ import annotations

from collections.abc import Sequence

from ftcli.contract import Column, Data

PLURALS = {"text": "texts", "image": "images", "audio": "sounds"}
MODELS = {
    "image": "--model preset:vit-tiny or another model of images",
    "audio": "--model preset:whisper-digits or another model of sounds",
}


def modality(columns: Sequence[Column]) -> str:
    """The kind of what a task's models are given: ``image``, ``audio`` or ``text``."""
    return next((column.kind for column in columns if column.kind in ("image", "audio")), "text")


def in_names(data: Data, column: Column) -> str | None:
    """Where labels of files may be, for data that is nothing but files."""
    if column.kind != "label" or set(data.columns) not in ({"image"}, {"audio"}):
        return None
    return "a folder for each class, a table of paths and labels, or --set 'data.label_pattern={label}_*' for names"
