"""Rows that cannot be used: found while reading, raised together or skipped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ftcli.contract import Column, Problem
from ftcli.data.images import image_fault
from ftcli.data.reader import Raw
from ftcli.data.text_files import json_kind
from ftcli.errors import DataError

_SHOWN = 10


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


def needs(column: Column) -> bool:
    """True where a column that was found must hold a value in every row. A column of labels that may be absent as
    a whole may still not have holes."""
    return column.required or column.kind == "label"


def row_fault(raw: Raw, columns: Sequence[Column], fields: dict[str, str]) -> str | None:
    """What is wrong with a record as such, its labels aside."""
    if raw.values is None:
        return raw.error
    for column in columns:
        field = fields.get(column.role)
        if field is None:
            continue
        if field not in raw.values:
            if needs(column):
                return f"no field '{field}'; fields: {', '.join(map(str, raw.values)) or 'none'}"
        elif column.kind != "label" and (column.required or raw.values[field] is not None):
            # "text is empty" where the column goes by its role, "text ('review') is empty" where it does not.
            name = column.role if field == column.role else f"{column.role} ('{field}')"
            fault = (image_fault if column.kind == "image" else text_fault)(raw.values[field], name)
            if fault:
                return fault
    return None


def raise_problems(problems: Sequence[Problem]) -> None:
    """One DataError for all problems: the first ten in full, and how many more."""
    count = f"{len(problems)} row{'s' if len(problems) > 1 else ''} cannot be used"
    raise DataError(listed(count, problems), hint="--on-bad-row skip leaves such rows out")


def listed(headline: str, problems: Sequence[Problem]) -> str:
    """A headline and the first ten problems, one per line."""
    lines = [f"{headline}:", *(f"  {problem}" for problem in problems[:_SHOWN])]
    if len(problems) > _SHOWN:
        lines.append(f"  ... and {len(problems) - _SHOWN} more")
    return "\n".join(lines)
