"""What the values of a column look like: how columns without a telling name are found, and tasks recognised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property, partial
from itertools import chain
from typing import Any, cast

from ftcli.contract import Kind, Look
from ftcli.data.media import SUFFIXES, are_files
from ftcli.data.paths import column_of, get
from ftcli.data.reader import Raw, Reader
from ftcli.data.values import Unusable, guess_separator, read_number, read_tags

IDS = ("id", "idx", "index", "guid", "uuid", "unnamed: 0", "")
"""Names of columns that number the rows."""
LONG_TEXT = 20
MOST_CLASSES = 200
_WHOLE: tuple[Look, ...] = ("list", "lists", "object")
"""Looks of columns that hold labels among other things, where the source names labels of theirs."""
FEW_NUMBERS = 20
"""Different whole numbers that are classes whatever else they could be."""


def numbers_rows(field: str) -> bool:
    """True for a column that, by its name, tells rows apart and says nothing of them."""
    name = field.strip().lower()
    return name in IDS or name.endswith(("_id", "_idx"))


class Sample:
    """The first rows of a data set, column by column; meets `contract.Table`."""

    def __init__(self, reader: Reader, records: Sequence[Raw]) -> None:
        rows = [raw.values for raw in records if raw.values is not None]
        self.all_fields = reader.fields
        self.class_names = reader.class_names
        self._values = {field: [row.get(field) for row in rows] for field in reader.fields}
        self._looks: dict[str, Look] = {}

    def renamed(self, names: Mapping[str, str]) -> Sample:
        """The same rows with some columns (or what is at a path into one) under other names; of columns that are not
        there, nothing."""
        inside = [old for old in names if old not in self.all_fields and column_of(old, self.all_fields) != old]
        names = {old: new for old, new in names.items() if old in self.all_fields or old in inside}
        kept = [field for field in (*self.all_fields, *inside) if field in names or field not in names.values()]
        other = copy(self)
        other.all_fields = tuple(names.get(field, field) for field in kept)
        other.class_names = {
            names.get(field, field): self.class_names[field] for field in kept if field in self.class_names
        }
        other._values = {names.get(field, field): self._values_of(field) for field in kept}
        other._looks = {}
        other.__dict__.pop("fields", None)
        return other

    def _values_of(self, field: str) -> list[Any]:
        if field in self._values:
            return self._values[field]
        column = column_of(field, self._values)
        return [get({column: value}, field) for value in self._values[column]]

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Columns, those that number the rows left out."""
        return tuple(field for field in self.all_fields if not numbers_rows(field))

    def named(self, names: Sequence[str], looks: Sequence[Look] = ()) -> list[str]:
        """Columns that go by one of `names` (the best first) and look like one of `looks` (of any, where none is)."""
        folded = {field.strip().lower(): field for field in reversed(self.all_fields)}
        found = [folded[name] for name in names if name in folded]
        return [field for field in found if not looks or self.look(field) in looks]

    def looking(self, *looks: Look) -> list[str]:
        """Columns whose values look like one of these, in the order of the table."""
        return [field for field in self.fields if self.look(field) in looks]

    def values(self, field: str) -> list[Any]:
        """The values of a column, absent ones left out."""
        return present(self._values.get(field, ()))

    def look(self, field: str) -> Look:
        """What a column looks like."""
        if field not in self._looks:
            seen = look_of(self._values.get(field, ()))
            self._looks[field] = "class" if field in self.class_names and seen not in _WHOLE else seen
        return self._looks[field]


def present(values: Sequence[Any]) -> list[Any]:
    """The values that are there."""
    return [value for value in values if value is not None and value != ""]


def look_of(values: Sequence[Any]) -> Look:
    """What values look like together."""
    values = present(values)
    if not values:
        return "other"
    for kind in SUFFIXES:
        if are_files(values, kind):
            return cast(Look, kind)
    if all(isinstance(value, dict) for value in values):
        return "object"
    if all(map(_is_list, values)):
        plain = all(isinstance(e, str | int) for e in chain.from_iterable(map(_listed, values)))
        return "list" if plain else "lists"
    if all(str(value).strip().lower() in ("0", "1", "true", "false", "0.0", "1.0") for value in values):
        return "flag"
    if are_numbers(values):
        whole = all(float(value).is_integer() for value in values)
        return "class" if whole and are_labels(values) else "number"
    if not all(isinstance(value, str) for value in values):
        return "other"
    if are_labels(values) and not _mostly_spaced(values):
        return "class"
    return "text" if are_long_texts(values) else "class" if are_labels(values) else "word"


def _mostly_spaced(values: Sequence[str]) -> bool:
    return sum(len(value) for value in values) > 2 * LONG_TEXT * len(values)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, str) and value.lstrip().startswith("["))


def _listed(value: Any) -> Sequence[Any]:
    if not isinstance(value, str):
        return value  # type: ignore[no-any-return]
    try:
        return read_tags(value)
    except Unusable:
        return [None]


def are_texts(values: Sequence[Any]) -> bool:
    """True where all are strings."""
    texts = [value for value in values if value is not None]
    return bool(texts) and all(isinstance(text, str) for text in texts)


def are_long_texts(values: Sequence[Any]) -> bool:
    """True for strings most of which have several words, or that are long."""
    if not are_texts(values):
        return False
    texts = [value for value in values if value is not None]
    spaced = sum(" " in text.strip() for text in texts)
    return spaced * 2 > len(texts) or sum(map(len, texts)) > LONG_TEXT * len(texts)


def are_labels(values: Sequence[Any]) -> bool:
    """True for few different strings or numbers that occur again."""
    labels = present(values)
    if not labels or not all(isinstance(label, str | int | float) for label in labels):
        return False
    different = len(set(labels))
    words = [label for label in labels if isinstance(label, str)]
    short = not words or sum(map(len, words)) <= 2 * LONG_TEXT * len(words)
    return short and different < len(labels) and different <= min(MOST_CLASSES, len(labels) / 2 + 1)


def are_numbers(values: Sequence[Any]) -> bool:
    """True for numbers, also as text; truth values are none."""
    numbers = present(values)
    if not numbers or any(isinstance(value, bool) for value in numbers):
        return False
    try:
        for value in numbers:
            read_number(value)
    except Unusable:
        return False
    return True


def are_label_lists(values: Sequence[Any]) -> bool:
    """True for lists of strings or whole numbers, and for short cells with a separator between words."""
    if look_of(values) == "list":
        return True
    cells = present(values)
    sign = guess_separator(cells) if are_texts(cells) else None
    if sign is None:
        return False
    pieces = [piece.strip() for cell in cells for piece in cell.split(sign)]
    return sum(sign in cell for cell in cells) * 10 >= len(cells) and are_labels(pieces)


def are_word_lists(values: Sequence[Any]) -> bool:
    """True for lists of strings."""
    return look_of(values) == "list" and all(isinstance(e, str) for value in present(values) for e in _listed(value))


def are_tag_lists(values: Sequence[Any]) -> bool:
    """True for lists of few different entries that occur again and again."""
    if look_of(values) != "list":
        return False
    entries = [e for value in present(values) for e in _listed(value)]
    return len(set(entries)) <= min(MOST_CLASSES, len(entries) / 2 + 1)


def fits(kind: Kind, values: Sequence[Any]) -> bool:
    """True where the values of a column look like those of a kind."""
    return bool(_FITS[kind](values))


_FITS: Mapping[Kind, Any] = {
    "text": are_long_texts,
    "image": partial(are_files, kind="image"),
    "audio": partial(are_files, kind="audio"),
    "label": are_labels,
    "number": are_numbers,
    "labels": are_label_lists,
    "tokens": are_word_lists,
    "tags": are_tag_lists,
    "texts": are_word_lists,
    "turns": lambda values: False,
    "json": lambda values: False,
}
"""turns and json are found by their names alone."""
