"""Records to predict on, one by one as they arrive: lines of text, JSON lines, or any data a recipe can name."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from ftcli.contract import Column, Row
from ftcli.data.checks import RowFault, check_record
from ftcli.data.columns import find, read_options, role_called, roles_named, told
from ftcli.data.files import extension, open_file
from ftcli.data.lines import Lines, check_encoding, explained
from ftcli.data.media import SUFFIXES, located
from ftcli.data.read import check_fields, sample
from ftcli.data.reader import Places, Raw, Reader
from ftcli.data.sources import Source, looks_like_path, missing_path, open_source
from ftcli.data.split import match
from ftcli.data.text_files import parse_object
from ftcli.data.values import Reading
from ftcli.errors import DataError
from ftcli.recipe.schema import DataRecipe

_LOOKS_LIKE_JSON = re.compile(r'\s*\{\s*["}]')
"""A line that begins like this is meant as JSON, even where it is broken."""
_PREDICTING = Reading(predicting=True)


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the input: its own fields, the values by role, or why it cannot be used."""

    values: Mapping[str, Any]
    row: Row | None
    error: str | None
    line: int


def records(
    source: str | None, recipe: DataRecipe, columns: Sequence[Column], row_fault: RowFault | None = None
) -> Iterator[Record]:
    """Every record in order; one that cannot be used has an error and the rest go on.

    `source` is a path, any name of data, or ``-`` (or None) for standard input. Answers are not looked at.
    """
    check_encoding(recipe.encoding)
    told(recipe, columns)
    needed = tuple(column for column in columns if not column.answer)
    recipe = _without_answers(recipe, columns)
    return (_checked(record, row_fault) for record in _opened(source, recipe, needed))


def _checked(record: Record, row_fault: RowFault | None) -> Record:
    fault = row_fault(record.row) if row_fault is not None and record.row is not None else None
    return record if fault is None else replace(record, row=None, error=fault)


def _opened(source: str | None, recipe: DataRecipe, needed: Sequence[Column]) -> Iterator[Record]:
    if source is None or source == "-":
        return _stream(sys.stdin.buffer, "stdin", recipe, needed)
    options = read_options(recipe, needed, strict=False)
    path = Path(os.path.expanduser(source))
    plain = needed[0].kind not in SUFFIXES and sum(column.required for column in needed) == 1
    if os.path.isfile(path) and extension(path) == ".txt" and not plain and not options.width:
        return _stream_file(path, recipe, needed)  # a list of paths, or of texts with tabs between them
    if os.path.isfile(path) and extension(path):
        return _from_readers([open_file(path, options)], recipe, needed)
    if os.path.exists(path) and not path.is_dir():
        return _stream_file(path, recipe, needed)
    if not os.path.lexists(path) and looks_like_path(source):
        raise missing_path(path, "input")
    opened = open_source(replace(recipe, name=source))
    return _from_readers(opened.splits[_only_split(opened, recipe)](options), recipe, needed)


def _without_answers(recipe: DataRecipe, columns: Sequence[Column]) -> DataRecipe:
    needed = {column.role for column in columns if not column.answer}
    roles = {role_called(given, columns): name for given, name in roles_named(recipe).items()}
    parts = [f"{role}={name}" for role, name in roles.items() if role in needed]
    return replace(recipe, columns=",".join(parts) or None, label_column=None)


def _only_split(source: Source, recipe: DataRecipe) -> str:
    """The test split, else the only one there is."""
    names = list(source.splits)
    split = match(recipe.test_split, names) or (names[0] if len(names) == 1 else None)
    if split is None:
        raise DataError(
            f"{source.name}: no split '{recipe.test_split}'; there is {', '.join(names)}",
            hint=f"--set data.test_split={names[0]}",
        )
    return split


def _from_readers(readers: Sequence[Reader], recipe: DataRecipe, columns: Sequence[Column]) -> Iterator[Record]:
    fields, _ = find(recipe, columns, readers[0], sample(readers[:1]))
    for reader in readers:
        check_fields(reader, columns, fields)
    return (_record(raw, columns, fields, reader.folder) for reader in readers for raw in reader.read(None))


def _record(raw: Raw, columns: Sequence[Column], fields: dict[str, str], folder: Path | None = None) -> Record:
    files = [fields[column.role] for column in columns if column.kind in SUFFIXES and column.role in fields]
    checked = check_record(located(raw, files, folder), columns, fields, _PREDICTING)
    row = None if checked.fault else {role: value for role, value in checked.values.items() if value is not None}
    return Record(_without_bytes(raw.values or {}), row, checked.fault, raw.line)


def _without_bytes(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """A record's fields as an answer shows them: of a file its path, where it has one."""
    if not any(isinstance(value, bytes | dict) for value in values.values()):
        return values
    shown = {}
    for field, value in values.items():
        if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
            value = value.get("path")
        if not isinstance(value, bytes):
            shown[field] = value
    return shown


def _stream_file(path: Path, recipe: DataRecipe, columns: Sequence[Column]) -> Iterator[Record]:
    """A pipe or a file without an extension: read once, as it comes."""
    if stat.S_ISREG(path.stat().st_mode) and path.stat().st_size == 0:
        raise DataError(f"{path.name}: the file is empty")
    with explained(path.name):
        stream = path.open("rb")

    def read() -> Iterator[Record]:
        with stream:
            yield from _stream(stream, path.name, recipe, columns, path.parent)

    return read()


def _stream(
    stream: BinaryIO, name: str, recipe: DataRecipe, columns: Sequence[Column], folder: Path | None = None
) -> Iterator[Record]:
    """Text lines (or paths of files) or JSON lines, as the first line that is not blank shows. Takes no line before it
    is asked for; paths start from `folder`."""
    lines = Lines(stream, name, recipe.encoding, strict=False)
    first = ""
    for first in lines:
        if first.strip():
            break
    is_json = bool(_LOOKS_LIKE_JSON.match(first)) or parse_object(first, 0).values is not None
    if is_json:
        yield from _json_records(_with_faults(first, lines), name, recipe, columns, folder)
        return
    # Blank lines that came before: each is a record, and an unusable one.
    for number in range(1, lines.number + (not first.strip())):
        yield _record(*_of_line("", number, None, columns))
    if first.strip():
        for number, text, fault in _with_faults(first, lines):
            yield _record(*_of_line(text, number, fault, columns), folder)


def _of_line(
    text: str, number: int, fault: str | None, columns: Sequence[Column]
) -> tuple[Raw, Sequence[Column], dict[str, str]]:
    """A line as a record: what the task needs of one, or tabs between the several things it needs."""
    needed = [column for column in columns if column.required]
    alone = str(needed[0].kind) if needed[0].kind in SUFFIXES else "text"
    names = [column.role for column in needed] if len(needed) > 1 else [alone]
    cells = text.split("\t") if len(needed) > 1 else [text]
    if fault is None and len(cells) != len(needed):
        found = "1 field" if len(cells) == 1 else f"{len(cells)} fields"
        fault = f"{found} where {len(needed)} are needed, with tabs between them: {', '.join(names)}"
    roles = {column.role: name for column, name in zip(needed, names, strict=True)}
    values = dict(zip(names, cells, strict=False))
    return Raw(number, None if fault else values, fault), columns, roles


def _with_faults(first: str, lines: Lines) -> Iterator[tuple[int, str, str | None]]:
    """Number, text and fault of the line already taken and of each one after it."""
    for text in chain([first], lines):
        fault = lines.fault[1] if lines.fault and lines.fault[0] == lines.number else None
        yield lines.number, text.rstrip("\r\n"), f"line {fault}" if fault else None


def _json_records(
    lines: Iterator[tuple[int, str, str | None]],
    name: str,
    recipe: DataRecipe,
    columns: Sequence[Column],
    folder: Path | None,
) -> Iterator[Record]:
    fields: dict[str, str] = {}
    for number, text, fault in lines:
        if not text.strip():
            continue
        raw = Raw(number, None, fault) if fault else parse_object(text, number)
        if raw.values is not None and not fields:
            try:
                fields, _ = find(recipe, columns, _lone_reader(name, raw), [raw])
            except DataError as error:
                yield Record(
                    raw.values, None, f"{error.message} ({error.hint})" if error.hint else error.message, number
                )
                continue
        yield _record(raw, columns, fields, folder)


def _lone_reader(name: str, raw: Raw) -> Reader:
    """One record as if it were a file, to find its columns."""
    return Reader(Places(name), tuple(raw.values or ()), lambda _: iter((raw,)))
