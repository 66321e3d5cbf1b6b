"""Reader for .conll files: a token a line with its columns, a blank line after each sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ftcli.data.reader import Options, Places, Raw, Reader
from ftcli.data.text_files import text_lines
from ftcli.errors import DataError

_DOCUMENT = "-DOCSTART-"


def open_conll(path: Path, name: str, options: Options) -> Reader:
    """A record a sentence: ``tokens`` are the first column and ``tags`` the last, or columns by position.

    Columns are separated by tabs where the first line has one, else by white space. Lines of ``-DOCSTART-`` and
    comments (``# ...``, of another number of columns) are passed over. A record's place is its first line.
    """
    sample = [text for _, text, _ in _lines_with_words(path, name, options)]
    first = next((text for text in sample if not text.startswith("#")), sample[0] if sample else None)
    if first is None:
        raise DataError(f"{name}: the file is empty")
    tabs = "\t" in first
    width = len(_cells(first, tabs))
    if options.width > width:
        raise DataError(f"{name}: no column at position {options.width - 1}: lines have {width} columns")
    if options.width:
        fields = tuple(str(n) for n in range(width))
    else:
        fields = ("tokens", "tags") if width > 1 else ("tokens",)

    def read(columns: Sequence[str] | None) -> Iterator[Raw]:
        start, error = 0, None
        rows: list[list[str]] = []
        for line, text, fault in text_lines(path, name, options):
            blank = fault is None and not text.strip()
            cells = _cells(text, tabs)
            if not blank and fault is None and (cells[0] == _DOCUMENT or (text[0] == "#" and len(cells) != width)):
                continue
            if blank:
                if start:
                    yield _sentence(start, rows, error, named=not options.width)
                start, error, rows = 0, None, []
                continue
            start = start or line
            if fault is None and (len(cells) != width or not cells[0].strip()):
                fault = f"has {len(cells)} columns, the first line has {width}" if cells[0].strip() else "has no token"
            if fault is not None and error is None:
                error = f"line {line} {fault}"
            rows.append(cells)
        if start:
            yield _sentence(start, rows, error, named=not options.width)

    return Reader(Places(name), fields, read, typed=False)


def _lines_with_words(path: Path, name: str, options: Options) -> Iterator[tuple[int, str, str | None]]:
    """The first lines that are neither blank nor of a document's start: enough to see the columns."""
    found = 0
    for line in text_lines(path, name, options):
        if line[1].strip() and not line[1].startswith(_DOCUMENT):
            yield line
            found += not line[1].startswith("#")
        if found:
            return


def _cells(text: str, tabs: bool) -> list[str]:
    return text.split("\t") if tabs else text.split() or [""]


def _sentence(line: int, rows: Sequence[Sequence[str]], error: str | None, *, named: bool) -> Raw:
    if error is not None:
        return Raw(line, None, error)
    columns = [list(column) for column in zip(*rows, strict=True)]
    if not named:
        return Raw(line, {str(n): column for n, column in enumerate(columns)})
    values = {"tokens": columns[0]}
    if len(columns) > 1:
        values["tags"] = columns[-1]
    return Raw(line, values)
