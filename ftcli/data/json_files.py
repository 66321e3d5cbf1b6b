"""Reader for .json files: an array of objects, an object around one, or JSON lines under that name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from ftcli.data.coco_files import is_coco, open_coco
from ftcli.data.lines import open_lines
from ftcli.data.reader import Options, Places, Raw, Reader
from ftcli.data.squad import questions_of
from ftcli.data.text_files import json_kind, known_fields, object_record, open_json_lines
from ftcli.errors import DataError

_PIECE = 1 << 20
"""Characters taken at a time from an array, so that a large file is never in memory whole."""


def open_json(path: Path, name: str, options: Options) -> Reader:
    """A .json file, by what its first characters show."""
    with open_lines(path, name, options.encoding, strict=options.strict) as lines:
        first = next((line for line in lines if line.strip()), None)
        rest = next((line for line in lines if line.strip()), None)
    if first is None:
        raise DataError(f"{name}: the file is empty")
    if first.lstrip().startswith("["):
        return _reader(path, name, options, wrapped=False)
    whole = _parsed(first)
    if rest is not None and first.strip() == "{" and (document := _coco(path, name, options)) is not None:
        return open_coco(document, path, name)
    if is_coco(whole):
        return open_coco(whole, path, name)
    if isinstance(whole, dict) and (rest is not None or _rows_field(whole) is None):
        return open_json_lines(path, name, options)
    return _reader(path, name, options, wrapped=True)


def _coco(path: Path, name: str, options: Options) -> dict[str, Any] | None:
    """The object of a COCO file that is written over several lines."""
    with open_lines(path, name, options.encoding, strict=options.strict) as lines:
        document = _parsed("".join(lines))
    return document if is_coco(document) else None


def _reader(path: Path, name: str, options: Options, *, wrapped: bool) -> Reader:
    def read(columns: Sequence[str] | None) -> Iterator[Raw]:
        with open_lines(path, name, options.encoding, strict=options.strict) as lines:
            yield from _wrapped_rows("".join(lines), name) if wrapped else _array(lines, name)

    places = Places(name, "row" if wrapped else "line")
    return Reader(places, known_fields(read(None), name), read, open_fields=True)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _rows_field(document: dict[str, Any]) -> str | None:
    """The only field that is a list of objects (``{"data": [...]}``)."""
    lists = [key for key, value in document.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
    return lists[0] if len(lists) == 1 else None


def _wrapped_rows(text: str, name: str) -> Iterator[Raw]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{name}, line {error.lineno}: not valid JSON: {error.msg} (column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: not valid JSON: {error}") from None
    field = _rows_field(document) if isinstance(document, dict) else None
    if field is None:
        found = f"an object with {', '.join(document)}" if isinstance(document, dict) else json_kind(document)
        raise DataError(f"{name}: {found}, where a list of objects (or JSON lines) is needed")
    for row, value in enumerate(chain.from_iterable(map(questions_of, document[field])), 1):
        yield object_record(value, row)


class _Window:
    """The part of an array that is being parsed: text not yet consumed, and the line it begins on."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.text = ""
        self.at = 0
        self.line = 1
        self.ended = False

    def more(self) -> bool:
        """Take in another piece; False at the end of the file."""
        # Each failed parse begins again, so the window doubles: the cost stays linear in the size of the largest row.
        want = max(_PIECE, len(self.text) - self.at)
        pieces, size = [self.text[self.at :]], 0
        for line in self._lines:
            pieces.append(line)
            size += len(line)
            if size >= want:
                break
        self.text, self.at, self.ended = "".join(pieces), 0, size == 0
        return not self.ended

    def move(self, end: int) -> None:
        """Consume up to `end`."""
        self.line += self.text.count("\n", self.at, end)
        self.at = end

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            end = self.at
            while end < len(self.text) and self.text[end] in " \t\r\n":
                end += 1
            self.move(end)
            if end < len(self.text):
                return self.text[end]
            if not self.more():
                return ""


def _array(lines: Iterator[str], name: str) -> Iterator[Raw]:
    """The objects of ``[{...}, {...}]``, one at a time."""
    window = _Window(lines)
    decoder = json.JSONDecoder()
    window.peek()
    window.move(window.at + 1)
    if window.peek() == "]":
        raise DataError(f"{name}: no rows: the list is empty")
    while True:
        window.peek()
        line = window.line
        value, end = _value(window, decoder, name)
        window.move(end)
        yield object_record(value, line)
        separator = window.peek()
        if separator not in (",", "]"):
            found = f"'{separator}'" if separator else "the end of the file"
            raise DataError(f"{name}, line {window.line}: not valid JSON: ',' or ']' is needed, not {found}")
        window.move(window.at + 1)
        if separator == "]":
            if window.peek():
                raise DataError(f"{name}, line {window.line}: not valid JSON: more text after the list")
            return


def _value(window: _Window, decoder: json.JSONDecoder, name: str) -> tuple[Any, int]:
    """The value at the window's start and where it ends, taking in more text as long as it is cut off."""
    while True:
        try:
            value, end = decoder.raw_decode(window.text, window.at)
            # A number at the very end of the window may go on in the next piece.
            if end < len(window.text) or not window.more():
                return value, end
        except json.JSONDecodeError as error:
            # An error well inside the window is one; near its end the value may only be cut off.
            if not _cut_off(window, error) or not window.more():
                line = window.line + window.text.count("\n", window.at, error.pos)
                raise DataError(f"{name}, line {line}: not valid JSON: {error.msg} (column {error.colno})") from None
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name}, line {window.line}: not valid JSON: {error}") from None


def _cut_off(window: _Window, error: json.JSONDecodeError) -> bool:
    return error.pos >= len(window.text) - 10 or error.msg.startswith("Unterminated string")
