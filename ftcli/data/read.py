"""From readers to the checked rows of one split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np

from ftcli.contract import Column, Kind, Problem
from ftcli.data.checks import RowFault, check_record, needs
from ftcli.data.labels import LabelBuilder
from ftcli.data.media import SUFFIXES, FileColumn, located
from ftcli.data.paths import column_of
from ftcli.data.reader import Raw, Reader
from ftcli.data.rows import FloatColumn, ListColumn, Origins, TableRows, TextColumn, Values
from ftcli.data.text_files import SAMPLE
from ftcli.data.values import AS_THEY_ARE, Reading, sources
from ftcli.errors import DataError, did_you_mean

_SAMPLE_BYTES = 16 << 20


class Builder(Protocol):
    """Takes the values of a column one by one."""

    def add(self, value: Any) -> None: ...
    def finish(self) -> Values: ...


_BUILDERS: Mapping[Kind, Callable[[], Builder]] = {
    "text": TextColumn,
    "number": FloatColumn,
    **dict.fromkeys(SUFFIXES, FileColumn),
}
"""Of the kinds that are not kept as JSON."""


@dataclass(frozen=True)
class Split:
    """A split as read: its usable rows, what was wrong with the others, and the kind of each label role."""

    rows: TableRows
    problems: list[Problem]
    kinds: Mapping[str, str]
    unlabelled: bool
    all_fields: tuple[str, ...]
    """Every column of the split, used or not."""


def sample(readers: Sequence[Reader]) -> list[Raw]:
    """The first records, to tell columns by their values; fewer where they hold much (images, sounds)."""
    found: list[Raw] = []
    size = 0
    for raw in islice((raw for reader in readers for raw in reader.read(None)), SAMPLE):
        found.append(raw)
        size += sum(_bytes(value) for value in (raw.values or {}).values())
        if size > _SAMPLE_BYTES:
            break
    return found


def _bytes(value: Any) -> int:
    """Bytes of files in a record as it stands in a file."""
    return len(value) if isinstance(value, bytes) else len(value.get("bytes") or b"") if isinstance(value, dict) else 0


def read_split(
    name: str,
    readers: Sequence[Reader],
    columns: Sequence[Column],
    fields: Mapping[str, str],
    kinds: Mapping[str, str],
    reading: Reading = AS_THEY_ARE,
    row_fault: RowFault | None = None,
) -> Split:
    """Read and check every row. `fields` is role -> column, `kinds` the label kinds of an earlier split."""
    found = dict(fields)
    used = [column for column in columns if column.role in found]
    names = class_names(readers)
    kept: dict[str, Builder] = {c.role: _BUILDERS.get(c.kind, ListColumn)() for c in used if c.kind != "label"}
    labels = {column.role: LabelBuilder(names.get(found[column.role])) for column in used if column.kind == "label"}
    origins = Origins()
    problems: list[tuple[int, Problem]] = []
    rows = unanswered = 0
    for reader, raw in _records(readers, found, used, origins):
        checked = check_record(raw, used, found, reading, row_fault)
        if checked.fault is not None:
            problems.append((rows, Problem(reader.places(raw.line), checked.fault)))
            unanswered += checked.unanswered
            continue
        origins.add(raw.line)
        rows += 1
        for role, values in kept.items():
            values.add(checked.values.get(role))
        for role, label in labels.items():
            label.add(checked.values.get(role), typed=reader.typed)
    if not rows and not problems:
        raise DataError(f"{readers[0].name}: no rows")
    finished = {role: label.finish(kinds.get(role), found[role], readers[0].name) for role, label in labels.items()}
    faults = {row: fault for label in finished.values() for row, fault in label.faults.items()}
    unlabelled = any(label.unlabelled for label in finished.values()) or 0 < unanswered == len(problems) + rows
    if not unlabelled:  # such a split is not used: every row would be a problem of its own
        problems.extend((row, Problem(origins.place(row), fault)) for row, fault in faults.items())
    problems.sort(key=lambda found_at: found_at[0])
    of_roles: dict[str, Values] = {
        c.role: finished[c.role].values if c.kind == "label" else kept[c.role].finish() for c in used
    }
    table = TableRows(of_roles, origins)
    if faults:
        table = table.select(np.setdiff1d(np.arange(rows), list(faults)))
    return Split(
        table,
        [problem for _, problem in problems],
        {role: label.kind for role, label in finished.items() if label.kind is not None},
        unlabelled,
        tuple(dict.fromkeys(field for reader in readers for field in reader.fields)),
    )


def _records(
    readers: Sequence[Reader], fields: Mapping[str, str], used: Sequence[Column], origins: Origins
) -> Iterator[tuple[Reader, Raw]]:
    for reader in readers:
        check_fields(reader, used, fields)
        origins.begin(reader.places)
        named = [name for c in used for name in sources(c.kind, fields[c.role], reader.fields)]
        columns = [column_of(name, reader.fields) for name in named]
        wanted = [name for name in columns if name in reader.fields]
        files = [fields[column.role] for column in used if column.kind in SUFFIXES]
        for raw in reader.read(list(dict.fromkeys(wanted))):
            yield reader, located(raw, files, reader.folder)


def check_fields(reader: Reader, columns: Sequence[Column], fields: Mapping[str, str]) -> None:
    """A DataError where a file lacks a column altogether (a record that lacks it is another matter)."""
    for column in columns:
        field = fields.get(column.role)
        if field is None or not needs(column) or not reader.fields:
            continue
        for name in sources(column.kind, field, reader.fields):
            if column_of(name, reader.fields) not in reader.fields:
                raise DataError(
                    f"{reader.name}: no column '{name}' (for {column.role}); columns: {', '.join(reader.fields)}",
                    hint=did_you_mean(name, reader.fields),
                )


def class_names(readers: Sequence[Reader]) -> dict[str, tuple[str, ...]]:
    """Column -> names of its labels, from whichever file has them."""
    return {column: names for reader in readers for column, names in reader.class_names.items()}
