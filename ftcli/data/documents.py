"""Files as the documents of a corpus: plain text cut into documents, and the text column of everything else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from ftcli.data.lines import explained, open_lines
from ftcli.data.paths import Absent, column_of, reach
from ftcli.data.reader import Options, Places, Raw, Reader

_LOOKED_AT = 10_000
"""Lines of a text file that show whether blank lines separate its documents."""
_SAID = {
    "lines": "each line is a document",
    "blank-lines": "blank lines separate documents",
    "file": "the file is one document",
}


def open_documents(path: Path, name: str, options: Options, how: str) -> Reader:
    """A .txt file; `how` is a value of `corpus.documents`. Its documents have their first line's number."""
    chosen = _by_content(path, name, options) if how == "auto" else how

    def read(columns: Sequence[str] | None) -> Iterator[Raw]:
        block: list[str] = []
        start, fault = 1, None
        with open_lines(path, name, options.encoding, strict=options.strict) as lines:
            for line in lines:
                if chosen == "lines" or (chosen == "blank-lines" and not line.strip()):
                    yield from _document(start, block, fault)
                    block, fault, start = [], None, lines.number
                if not block:
                    if not line.strip():
                        continue
                    start = lines.number
                block.append(line)
                if lines.fault and lines.fault[0] == lines.number:
                    fault = fault or lines.fault[1]
        yield from _document(start, block, fault)

    said = f"{name}: {_SAID[chosen]}, as its content suggests (--set corpus.documents says otherwise)"
    return Reader(Places(name), ("text",), read, typed=False, notes=(said,) if how == "auto" else ())


def _document(start: int, block: Sequence[str], fault: str | None) -> Iterator[Raw]:
    if block:
        yield Raw(start, None, fault) if fault else Raw(start, {"text": "".join(block).rstrip()})


def _by_content(path: Path, name: str, options: Options) -> str:
    """blank-lines where there is a blank line between two others near the beginning, else lines."""
    seen = blank = False
    with open_lines(path, name, options.encoding, strict=False) as lines:
        for line in islice(lines, _LOOKED_AT):
            if not line.strip():
                blank = seen
            elif blank:
                return "blank-lines"
            else:
                seen = True
    return "lines"


def open_text_files(name: str, paths: Sequence[Path], shown: Sequence[str], options: Options) -> Reader:
    """Many .txt files, each of them one document; `shown` is how messages call each."""

    def read(columns: Sequence[str] | None) -> Iterator[Raw]:
        for number, path in enumerate(paths):
            with open_lines(path, shown[number], options.encoding, strict=options.strict) as lines:
                text = "".join(lines)
                fault = f"line {lines.fault[0]} {lines.fault[1]}" if lines.fault else None
            yield Raw(number, None, fault) if fault else Raw(number, {"text": text.strip()})

    with explained(name):
        return Reader(Places(name, files=tuple(shown)), ("text",), read, typed=False)


class Documents:
    """The text column of readers as their only one, blank texts left out (and counted, here)."""

    def __init__(self) -> None:
        self.blank = 0

    def of(self, reader: Reader, field: str) -> Reader:
        """`reader` with the one column ``text``, which is its `field`."""

        def read(columns: Sequence[str] | None) -> Iterator[Raw]:
            for raw in reader.read([column_of(field, reader.fields)]):
                if raw.values is None:
                    yield raw
                    continue
                try:
                    text = reach(raw.values, field)
                except Absent as absent:
                    yield Raw(raw.line, None, f"no field '{field}'; {absent.what}")
                    continue
                if isinstance(text, str) and (not text or text.isspace()):
                    self.blank += 1
                else:
                    yield Raw(raw.line, {"text": text})

        return Reader(reader.places, ("text",), read, typed=reader.typed)
