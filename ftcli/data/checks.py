"""Rows that cannot be used: found while reading, raised together or skipped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftcli.contract import Column, Kind, Problem, Row
from ftcli.data.images import image_fault
from ftcli.data.paths import instead, there
from ftcli.data.reader import Raw
from ftcli.data.sounds import audio_fault
from ftcli.data.values import AS_THEY_ARE, READERS, Reading, Unusable, sources, text_fault, value_of
from ftcli.errors import DataError

RowFault = Callable[[Row], str | None]
"""`Task.row_fault`."""
_SHOWN = 10
_FAULTS: Mapping[Kind, Callable[[Any, str], str | None]] = {"image": image_fault, "audio": audio_fault}


def needs(column: Column) -> bool:
    """True where a column that was found must hold a value in every row. A column of answers that may be absent as a
    whole may still not have holes."""
    return column.required or column.answer


@dataclass(frozen=True)
class Checked:
    """A record looked at: its values by role (labels as they stand in the file), or what is wrong with it."""

    values: dict[str, Any]
    fault: str | None = None
    unanswered: bool = False
    """True where all that is wrong is a missing answer."""


def check_record(
    raw: Raw,
    columns: Sequence[Column],
    fields: Mapping[str, str],
    reading: Reading = AS_THEY_ARE,
    row_fault: RowFault | None = None,
) -> Checked:
    """A record's values as the task takes them; single labels are left for `LabelBuilder`, which sees all of them."""
    if raw.values is None:
        return Checked({}, raw.error or "cannot be read")
    found: dict[str, Any] = {}
    for column in columns:
        field = fields.get(column.role)
        if field is None:
            continue
        names = sources(column.kind, field, raw.values)
        lacking = [name for name in names if not there(raw.values, name)]
        if lacking and (needs(column) or len(lacking) < len(names)):
            return Checked({}, f"no field '{lacking[0]}'; {instead(raw.values, lacking[0])}")
        value = value_of(column.kind, field, raw.values)
        absent = value is None or (column.blank and value == "")
        if column.kind == "label" or (absent and not needs(column)):
            found[column.role] = None if absent else value
            continue
        # "text is empty" where the column goes by its role, "text ('review') is empty" where it does not.
        name = column.role if field == column.role else f"{column.role} ('{field}')"
        found[column.role], fault = _read(column.kind, value, name, reading)
        if fault is not None:
            return Checked({}, fault, column.answer and (value is None or value == ""))
    fault = row_fault(found) if row_fault is not None else None
    return Checked(found, fault)


def _read(kind: Kind, value: Any, name: str, reading: Reading) -> tuple[Any, str | None]:
    """The value as the task takes it, and what is wrong with it."""
    if kind not in READERS:
        return value, _FAULTS.get(kind, text_fault)(value, name)
    try:
        return READERS[kind](value, reading), None
    except Unusable as error:
        return None, f"{name} {error}"


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
