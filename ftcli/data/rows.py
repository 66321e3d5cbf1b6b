"""The rows of a split: columns of compact values, readable in any order, that go to a file where they are many."""

from __future__ import annotations

import hashlib
import json
import math
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ftcli.contract import Row
from ftcli.data.spool import Numbers, Spool

_PENDING_ROWS = 10_000
_PENDING_CHARACTERS = 4_000_000
_READ_AT_A_TIME = 64
_HASHED_CHARACTERS = 1_000_000
_ROWS_PER_LIST = 1000


class Values(Protocol):
    """The values of a role, by row."""

    def __len__(self) -> int: ...
    def many(self, rows: Any) -> list[Any]:
        """The values of these rows (an array), in this order."""

    def prints(self, rows: Any) -> list[Any]:
        """What a fingerprint is made of: the values, or hashes of what they name."""


class TableRows:
    """Rows of a table, or a choice of them; the values by role and the place each came from."""

    def __init__(self, columns: Mapping[str, Values], origins: Origins, index: Any = None) -> None:
        self._columns = columns
        self._origins = origins
        self._count = len(index) if index is not None else max((len(c) for c in columns.values()), default=0)
        self._index = index
        self._fingerprint: str | None = None
        self.roles: tuple[str, ...] = tuple(columns)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Row:
        if not -self._count <= index < self._count:
            raise IndexError(f"row {index} of {self._count}")
        at = index % self._count
        return next(self._read(at, at + 1))

    def __iter__(self) -> Iterator[Row]:
        for start in range(0, self._count, _READ_AT_A_TIME):
            yield from self._read(start, min(start + _READ_AT_A_TIME, self._count))

    def column(self, role: str) -> list[Any]:
        """All values of a role, in order."""
        return self._columns[role].many(self._rows(0, self._count))

    def place(self, index: int) -> str:
        """File and line (or row) of a row."""
        return self._origins.place(int(self._rows(index, index + 1)[0]))

    def rows_of_files(self) -> np.ndarray:
        """How many rows each file gave, in the order they were read; of a table all of whose rows are there."""
        return self._origins.rows_of_files()

    def select(self, indices: Sequence[int] | np.ndarray) -> TableRows:
        """These rows, in this order."""
        chosen = Numbers()
        wanted = np.asarray(indices, dtype=np.int64)
        chosen.extend(wanted if self._index is None else self._index[wanted])
        return TableRows(self._columns, self._origins, chosen.array())

    def text_bytes(self) -> int:
        """Size of the texts."""
        texts = (column for column in self._columns.values() if isinstance(column, Texts | Listed))
        return sum(column.size(self._index) for column in texts)

    def fingerprint(self) -> str:
        """SHA-256 over roles and values, in order."""
        if self._fingerprint is None:
            digest = hashlib.sha256(json.dumps(self.roles).encode())
            for piece in self._as_json():
                digest.update(piece.encode())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def _as_json(self) -> Iterator[str]:
        """The rows as JSON lists of a thousand each, in pieces of some size."""
        batch: list[list[Any]] = []
        opening, characters = "[", 0
        for number, row in enumerate(self._printed(), 1):
            batch.append(list(row))
            characters += sum(len(value) for value in row if isinstance(value, str))
            full = number % _ROWS_PER_LIST == 0
            if full or characters >= _HASHED_CHARACTERS:
                yield opening + json.dumps(batch, ensure_ascii=False)[1:-1] + ("]" if full else "")
                opening, characters = "[" if full else ", ", 0
                batch.clear()
        rest = json.dumps(batch, ensure_ascii=False)[1:-1]
        yield (opening + rest if rest or opening == "[" else "") + "]"

    def _printed(self) -> Iterator[tuple[Any, ...]]:
        """What the rows' fingerprint is made of."""
        for start in range(0, self._count, _READ_AT_A_TIME):
            rows = self._rows(start, min(start + _READ_AT_A_TIME, self._count))
            yield from zip(*(column.prints(rows) for column in self._columns.values()), strict=True)

    def _rows(self, start: int, end: int) -> Any:
        return np.arange(start, end) if self._index is None else self._index[start:end]

    def _read(self, start: int, end: int) -> Iterator[Row]:
        rows = self._rows(start, end)
        for values in zip(*(column.many(rows) for column in self._columns.values()), strict=True):
            yield dict(zip(self.roles, values, strict=True))


class Origins:
    """Where rows came from: runs of rows on lines that follow one another, and a run of rows for each file."""

    def __init__(self) -> None:
        self._count = 0
        self._next = -1
        self._rows = array("q")
        """The first row of each run of lines, ..."""
        self._lines = array("q")
        """... and its line."""
        self._starts: list[int] = []
        self._places: list[Callable[[int], str]] = []

    def begin(self, places: Callable[[int], str]) -> None:
        """Rows added from now on are of this file."""
        self._starts.append(self._count)
        self._places.append(places)

    def add(self, line: int) -> None:
        """Another row."""
        if line != self._next:
            self._rows.append(self._count)
            self._lines.append(line)
        self._count += 1
        self._next = line + 1

    def place(self, row: int) -> str:
        """File and line (or row) of a row."""
        run = bisect_right(self._rows, row) - 1
        line = self._lines[run] + row - self._rows[run]
        return self._places[bisect_right(self._starts, row) - 1](line)

    def rows_of_files(self) -> np.ndarray:
        """How many rows each file gave, in the order they were read."""
        return np.diff([*self._starts, self._count])


class Coded:
    """Values that repeat, each kept once; `codes` says which one every row has."""

    def __init__(self, values: Sequence[Any], codes: Any) -> None:
        self._values, self._codes = values, codes

    def __len__(self) -> int:
        return len(self._codes)

    def many(self, rows: Any) -> list[Any]:
        return [self._values[code] for code in self._codes[rows].tolist()]

    prints = many


class Texts:
    """Texts as UTF-8, one after the other; absent ones are None."""

    def __init__(self, ends: Any, absent: Any, data: Spool) -> None:
        self._ends, self._absent, self._data = ends, absent, data

    def __len__(self) -> int:
        return len(self._ends)

    def many(self, rows: Any) -> list[str | None]:
        if not len(rows):
            return []
        ends = self._ends[rows].astype(np.int64)
        starts = np.where(rows == 0, 0, self._ends[np.maximum(rows, 1) - 1]).astype(np.int64)
        first, last = int(starts.min()), int(ends.max())
        if last - first <= 2 * int((ends - starts).sum()) + 4096:  # they lie close together: one read
            data = self._data.read(first, last - first)
            found = [
                data[start:end].decode("utf-8", "surrogatepass")
                for start, end in zip((starts - first).tolist(), (ends - first).tolist(), strict=True)
            ]
        else:
            found = [
                self._data.read(start, end - start).decode("utf-8", "surrogatepass")
                for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
            ]
        if not len(self._absent):
            return list(found)
        at = np.minimum(np.searchsorted(self._absent, rows), len(self._absent) - 1)
        absent = (self._absent[at] == rows).tolist()
        return [None if gone else text for gone, text in zip(absent, found, strict=True)]

    prints = many

    def size(self, rows: Any = None) -> int:
        """Bytes of the texts of these rows (None: of all)."""
        if rows is None:
            return self._data.size
        lengths = np.diff(self._ends.astype(np.int64), prepend=0)
        return int(lengths[rows].sum())


class Listed:
    """Values of JSON, kept as texts."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def many(self, rows: Any) -> list[Any]:
        return [None if text is None else json.loads(text) for text in self._texts.many(rows)]

    def prints(self, rows: Any) -> list[Any]:
        return self._texts.prints(rows)

    def size(self, rows: Any = None) -> int:
        """Bytes of the values of these rows (None: of all)."""
        return self._texts.size(rows)


class Floats:
    """Numbers, a float each; absent ones are None."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def many(self, rows: Any) -> list[float | None]:
        return [None if value != value else value for value in self._values[rows].tolist()]

    prints = many


class FloatColumn:
    """Numbers gathered as they come."""

    def __init__(self) -> None:
        self._values = array("d")

    def add(self, value: float | None) -> None:
        """Another number."""
        self._values.append(math.nan if value is None else value)

    def finish(self) -> Floats:
        """The column."""
        return Floats(np.array(self._values))


class TextColumn:
    """Texts gathered as they come, so that few Python strings are alive at a time."""

    def __init__(self) -> None:
        self._data = Spool()
        self._ends = Numbers()
        self._absent = Numbers()
        self._pending: list[str | None] = []
        self._characters = 0

    def add(self, text: str | None) -> None:
        """Another text."""
        self._pending.append(text)
        self._characters += len(text or "")
        if len(self._pending) >= _PENDING_ROWS or self._characters >= _PENDING_CHARACTERS:
            self._flush()

    def finish(self) -> Texts:
        """The column."""
        self._flush()
        self._data.finish()
        return Texts(self._ends.array(), self._absent.array(), self._data)

    def _flush(self) -> None:
        pieces = [(text or "").encode("utf-8", "surrogatepass") for text in self._pending]
        self._absent.extend([len(self._ends) + i for i, text in enumerate(self._pending) if text is None])
        self._ends.extend(self._data.size + np.cumsum([len(piece) for piece in pieces], dtype=np.int64))
        self._data.write(b"".join(pieces))
        self._pending, self._characters = [], 0


class ListColumn:
    """Lists, or other values that JSON can hold, gathered as they come."""

    def __init__(self) -> None:
        self._texts = TextColumn()

    def add(self, value: Any) -> None:
        """Another value."""
        self._texts.add(None if value is None else json.dumps(value, ensure_ascii=False))

    def finish(self) -> Listed:
        """The column."""
        return Listed(self._texts.finish())
