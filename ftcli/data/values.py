"""What a value of each kind of column has to be, and how it is read: one table for files, tables and streams alike."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftcli.contract import Kind
from ftcli.data import conversations
from ftcli.data.paths import get
from ftcli.data.text_files import json_kind

SEPARATORS = ("|", ";", ",")
"""What separates the labels of a cell where nobody says, the surest sign first."""
JOINED: frozenset[Kind] = frozenset({"labels", "texts", "json"})
"""Kinds that several columns may fill together, named as ``first+second``."""
_YES, _NO = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no", ""}
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")


class Unusable(ValueError):
    """A value that is not of its column's kind: what is wrong with it, after the column's name."""


@dataclass(frozen=True)
class Reading:
    """How values are to be read beside their kind."""

    separator: str | None = None
    """Between the labels of a cell; None: no cell holds more than one, unless as a list."""
    predicting: bool = False
    """True: tokens may be a text that is not cut into words yet."""


AS_THEY_ARE = Reading()


def text_fault(value: Any, role: str = "text") -> str | None:
    """What makes a value unusable as a text; None where it is fine. "NA" and "null" are texts like any other."""
    if isinstance(value, str):
        if not value or value.isspace():
            return f"{role} is empty"
        if "\0" in value:
            return f"{role} holds a NUL character"
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                return f"{role} holds half of a surrogate pair, which is no character"
        return None
    if value is None:
        return f"{role} is null"
    return f"{role} is {json_kind(value)}, not text"


def read_number(value: Any, reading: Reading = AS_THEY_ARE) -> float:
    """A finite number, also as text."""
    if isinstance(value, str) and not value.strip():
        raise Unusable("is empty")
    if isinstance(value, bool) or value is None or not isinstance(value, int | float | str):
        raise Unusable(f"is {json_kind(value)}, not a number")
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise Unusable(f"is '{value[:40]}', not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Unusable(f"is {str(value)[:40]}, not a finite number")
    return number


def read_labels(value: Any, reading: Reading = AS_THEY_ARE) -> list[Any]:
    """Labels out of a list, a cell with separators, or 0 and 1 by label; each once, in the order given."""
    if isinstance(value, Mapping):
        return [str(name) for name, flag in value.items() if _flag(name, flag)]
    if isinstance(value, str):
        listed = _json_list(value)
        pieces = value.split(reading.separator) if reading.separator else [value]
        value = listed if listed is not None else [piece.strip() for piece in pieces if piece.strip()]
    elif isinstance(value, int) and not isinstance(value, bool):
        value = [value]
    if not isinstance(value, list | tuple):
        raise Unusable(f"is {json_kind(value)}, not a list of labels")
    return list(dict.fromkeys(_label(entry) for entry in value))


def _flag(name: str, value: Any) -> bool:
    word = str(value).strip().lower() if value is not None else ""
    if word not in _YES | _NO:
        raise Unusable(f"has '{str(value)[:40]}' for '{name}', where 0 or 1 is needed")
    return word in _YES


def _label(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Unusable(f"holds {json_kind(value)}, where labels are needed")
    if isinstance(value, str) and (fault := text_fault(value, "an entry")):
        raise Unusable(f"is unusable: {fault}")
    return value.strip() if isinstance(value, str) else value


def read_tokens(value: Any, reading: Reading = AS_THEY_ARE) -> Any:
    """Words: a list of them, or a text cut at white space (when predicting: as it is)."""
    if isinstance(value, str):
        if fault := text_fault(value, ""):
            raise Unusable(fault.strip())
        listed = _json_list(value)
        if listed is None and reading.predicting:
            return value
        value = listed if listed is not None else value.split()
    words = _strings(value, "words")
    if not words:
        raise Unusable("is empty")
    return words


def read_tags(value: Any, reading: Reading = AS_THEY_ARE) -> list[Any]:
    """One tag for each token: strings or whole numbers, as a list or separated by white space."""
    if isinstance(value, str):
        listed = _json_list(value)
        value = listed if listed is not None else value.split()
    if isinstance(value, list | tuple) and value and all(type(entry) is int for entry in value):
        return list(value)
    return _strings(value, "tags")


def read_texts(value: Any, reading: Reading = AS_THEY_ARE) -> list[str]:
    """At least one text."""
    if isinstance(value, str):
        value = _json_list(value) or value
    texts = _strings(value, "texts")
    if not texts:
        raise Unusable("is empty")
    return texts


def read_turns(value: Any, reading: Reading = AS_THEY_ARE) -> list[conversations.Turn]:
    """A conversation, see `conversations.read`."""
    try:
        return conversations.read(value, predicting=reading.predicting)
    except conversations.NoConversation as error:
        raise Unusable(str(error)) from None


def read_json(value: Any, reading: Reading = AS_THEY_ARE) -> Any:
    """Any value that JSON has a form for."""
    if value is None:
        raise Unusable("is null")
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        raise Unusable("holds what JSON has no form for") from None
    return value


def _strings(value: Any, what: str) -> list[str]:
    if not isinstance(value, list | tuple):
        raise Unusable(f"is {json_kind(value)}, not a list of {what}")
    for place, entry in enumerate(value, 1):
        if fault := text_fault(entry, f"entry {place}"):
            raise Unusable(f"is unusable: {fault}")
    return list(value)


def _json_list(text: str) -> list[Any] | None:
    """The list that a cell holds as JSON."""
    if not text.lstrip().startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


READERS: Mapping[Kind, Callable[[Any, Reading], Any]] = {
    "number": read_number,
    "labels": read_labels,
    "tokens": read_tokens,
    "tags": read_tags,
    "texts": read_texts,
    "turns": read_turns,
    "json": read_json,
}
"""Kind -> what makes the task's value of a file's (Unusable where it cannot); those of the other kinds stay as they
are."""


def sources(kind: Kind, field: str, fields: Sequence[str] | Mapping[str, Any]) -> tuple[str, ...]:
    """The columns (or paths into such) that make up what the recipe calls `field`: itself, or those it joins
    (``first+second``)."""
    if field in fields or kind not in JOINED or "+" not in field:
        return (field,)
    return tuple(part.strip() for part in field.split("+"))


def value_of(kind: Kind, field: str, values: Mapping[str, Any]) -> Any:
    """The value of a record as it stands in the file; of joined columns, labels by name, others in a list (of texts
    those that are there)."""
    names = sources(kind, field, values)
    if len(names) == 1:
        return get(values, names[0])
    if kind == "labels":
        return {name: get(values, name) for name in names}
    found = [get(values, name) for name in names]
    return found if kind == "json" else [value for value in found if value not in (None, "")]


def guess_separator(cells: Sequence[Any]) -> str | None:
    """The separator that cells of labels show: the surest sign that is in any of them."""
    texts = [cell for cell in cells if isinstance(cell, str) and _json_list(cell) is None]
    return next((sign for sign in SEPARATORS if any(sign in text for text in texts)), None)
