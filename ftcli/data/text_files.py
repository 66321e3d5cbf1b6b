"""Readers for line-based files: csv and its relatives, JSON lines, plain text."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ftcli.data.lines import Lines, open_lines
from ftcli.data.reader import Options, Places, Raw, Reader
from ftcli.errors import DataError, UsageError

SAMPLE = 1000
"""Records looked at to learn which fields a file has and what they hold."""


def open_csv(path: Path, name: str, options: Options, delimiter: str) -> Reader:
    """A file of separated values, with a header or (given positions) without one."""
    delimiter = delimiter_of(options.delimiter) or delimiter
    with open_lines(path, name, options.encoding, strict=options.strict) as lines:
        first = next((raw for raw in _csv_rows(lines, delimiter) if raw[1]), None)
    if first is None:
        raise DataError(f"{name}: the file is empty")
    line, cells, error = first
    if error:
        raise DataError(f"{name}, line {line}: {error}")
    # Positions name the columns of a file without a header; pandas writes 0,1,2,... as the header of unnamed columns.
    numbered = [str(n) for n in range(len(cells))]
    headless = options.width > 0 and cells != numbered
    fields = _headless_fields(cells, options, name) if headless else _header(cells, options, name, line)

    def read(columns: Sequence[str] | None) -> Iterator[Raw]:
        with open_lines(path, name, options.encoding, strict=options.strict) as lines:
            rows = (raw for raw in _csv_rows(lines, delimiter) if raw[1])
            for line, cells, error in rows if headless else islice(rows, 1, None):
                if error is None and len(cells) != len(fields):
                    where = "first row" if headless else "header"
                    error = f"{_count(len(cells), 'field')} where the {where} has {len(fields)}"
                yield Raw(line, None, error) if error else Raw(line, dict(zip(fields, cells, strict=True)))

    hint = None if headless else "a file without a header takes positions: --columns text=0,label=1"
    return Reader(Places(name), fields, read, typed=False, header_hint=hint)


def delimiter_of(given: str | None) -> str | None:
    r"""The delimiter a recipe asks for; ``tab`` and ``\t`` are a tab."""
    if given is None:
        return None
    delimiter = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "space": " "}.get(given, given)
    if len(delimiter) != 1 or delimiter in '\r\n"\0':
        raise UsageError(
            f"data.delimiter: '{given}' is not a single character", hint="for a tab: --set data.delimiter=tab"
        )
    return delimiter


def _csv_rows(lines: Lines, delimiter: str) -> Iterator[tuple[int, list[str], str | None]]:
    """Start line, cells and fault of each record; cells are never empty where there is a fault."""
    csv.field_size_limit(sys.maxsize)
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        start = lines.number + 1
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield start, [""], _csv_fault(str(error), start, lines.number)
            continue
        fault = lines.fault[1] if lines.fault and lines.fault[0] >= start else None
        yield start, cells, fault


def _csv_fault(message: str, start: int, end: int) -> str:
    lost = f"; lines {start} to {end} are lost with it" if end > start else ""
    if "universal-newline" in message:
        return "a carriage return within a line: are the line ends those of an old Mac? (tr '\\r' '\\n' mends them)"
    if "unexpected end of data" in message:
        return f"a quoted field that begins here is never closed{lost}"
    if "expected after" in message:
        return f"unbalanced quotes: text follows a closing quote{lost}"
    return f"not valid csv: {message}{lost}"


def _headless_fields(cells: Sequence[str], options: Options, name: str) -> tuple[str, ...]:
    if len(cells) < options.width:
        raise DataError(f"{name}: no column at position {options.width - 1}: rows have {_count(len(cells), 'field')}")
    return tuple(str(n) for n in range(len(cells)))


def _header(cells: Sequence[str], options: Options, name: str, line: int) -> tuple[str, ...]:
    fields = tuple(cell.strip() for cell in cells)
    double = sorted({f for f in fields if f and fields.count(f) > 1})
    if double:
        raise DataError(f"{name}, line {line}: the header has {_quoted(double)} more than once")
    if len(fields) == 1 and options.delimiter is None:
        for other, written in ((";", "';'"), ("\t", "tab"), ("|", "'|'"), (",", "','")):
            if other in cells[0]:
                raise DataError(
                    f"{name}: the header is one column, '{fields[0]}': is the separator {written}?",
                    hint=f"--set data.delimiter={written}",
                )
    return fields


def open_separated_text(path: Path, name: str, options: Options) -> Reader:
    """Lines such as ``<class> <text>``: cut at the separator, the last named position takes the rest of the line.

    Without a separator given, it is a tab where the first line has one, else a space.
    """
    given = delimiter_of(options.delimiter)
    first = next((text for _, text, _ in text_lines(path, name, options) if text.strip()), None)
    if first is None:
        raise DataError(f"{name}: the file is empty")
    delimiter = given or ("\t" if "\t" in first else " ")
    fields = tuple(str(n) for n in range(options.width))

    def read(columns: Sequence[str] | None) -> Iterator[Raw]:
        for line, text, error in text_lines(path, name, options):
            if error is None and not text.strip():
                continue
            cells = text.split(delimiter, len(fields) - 1)
            if error is None and len(cells) < len(fields):
                error = f"{_count(len(cells), 'field')} where {len(fields)} are needed"
            yield Raw(line, None, error) if error else Raw(line, dict(zip(fields, cells, strict=True)))

    said = f"{name}: columns are cut at each {'tab' if delimiter == chr(9) else 'space'} (data.delimiter)"
    return Reader(Places(name), fields, read, typed=False, notes=() if given else (said,))


def open_text(path: Path, name: str, options: Options) -> Reader:
    """Plain text: every line is a text."""

    def read(columns: Sequence[str] | None) -> Iterator[Raw]:
        for line, text, error in text_lines(path, name, options):
            yield Raw(line, None, error) if error else Raw(line, {"text": text})

    _refuse_empty(read(None), name)
    hint = (
        "lines of plain text carry no labels: use a csv or JSON lines file, class folders, "
        "or for lines such as '<class> <text>' --columns label=0,text=1"
    )
    return Reader(Places(name), ("text",), read, typed=False, header_hint=hint)


def text_lines(path: Path, name: str, options: Options) -> Iterator[tuple[int, str, str | None]]:
    """Number, text and fault of each line."""
    with open_lines(path, name, options.encoding, strict=options.strict) as lines:
        for text in lines:
            fault = lines.fault[1] if lines.fault and lines.fault[0] == lines.number else None
            yield lines.number, text.rstrip("\r\n"), fault


def open_json_lines(path: Path, name: str, options: Options) -> Reader:
    """A JSON object per line."""

    def read(columns: Sequence[str] | None) -> Iterator[Raw]:
        for line, text, error in text_lines(path, name, options):
            if error is not None or text.strip():
                yield Raw(line, None, error) if error else parse_object(text, line)

    return Reader(Places(name), known_fields(read(None), name), read, open_fields=True)


def parse_object(text: str, line: int) -> Raw:
    """A line of JSON lines as a record."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return Raw(line, None, f"not valid JSON: {error.msg} (column {error.colno})")
    except (ValueError, RecursionError) as error:
        return Raw(line, None, f"not valid JSON: {error}")
    return object_record(value, line)


def object_record(value: Any, line: int) -> Raw:
    """A parsed JSON value as a record: only objects are. A question with its choices inside it, as AI2 publishes them,
    gives two fields."""
    if not isinstance(value, dict):
        return Raw(line, None, f"{json_kind(value)} where a JSON object is needed")
    inside = value.get("question")
    if isinstance(inside, dict) and "stem" in inside and "choices" in inside:
        value = {**value, "question": inside["stem"], "choices": inside["choices"]}
    return Raw(line, value)


def json_kind(value: Any) -> str:
    """What a value is, in JSON's words."""
    if value is None:
        return "null"
    kinds = {bool: "true/false", str: "a string", list: "a list", dict: "an object", int: "a number", float: "a number"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def known_fields(records: Iterator[Raw], name: str) -> tuple[str, ...]:
    """The fields the first records have between them, in order of appearance."""
    first = list(islice(records, SAMPLE))
    if not first:
        raise DataError(f"{name}: the file is empty")
    return tuple(dict.fromkeys(str(key) for raw in first for key in raw.values or ()))


def _refuse_empty(records: Iterator[Raw], name: str) -> None:
    if next(records, None) is None:
        raise DataError(f"{name}: the file is empty")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
