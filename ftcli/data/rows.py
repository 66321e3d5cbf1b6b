"""The rows of a split, kept as Arrow columns: compact, and readable in any order."""

from __future__ import annotations

import hashlib
import json
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ftcli.contract import Row
from ftcli.data.reader import Places

_CHUNK_ROWS = 10_000
_CHUNK_CHARACTERS = 8_000_000
_HASHED_AT_A_TIME = 1000


class TableRows:
    """Rows of a table, or a choice of them; the values by role and the place each came from."""

    def __init__(self, table: Any, origins: Origins, index: Any = None) -> None:
        self._table = table
        self._origins = origins
        self._index = np.arange(table.num_rows, dtype=np.int64) if index is None else index
        self.roles: tuple[str, ...] = tuple(table.column_names)
        self._columns = {role: table.column(role) for role in self.roles}

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> Row:
        at = int(self._index[index])
        return {role: column[at].as_py() for role, column in self._columns.items()}

    def __iter__(self) -> Iterator[Row]:
        for at in self._index.tolist():
            yield {role: column[at].as_py() for role, column in self._columns.items()}

    def column(self, role: str) -> list[Any]:
        """All values of a role, in order."""
        column = self._columns[role]
        if len(self._index) == len(column):
            values = column.to_pylist()
            return values if self._in_order() else [values[at] for at in self._index.tolist()]
        return [column[at].as_py() for at in self._index.tolist()]

    def place(self, index: int) -> str:
        """File and line (or row) of a row."""
        return self._origins.place(int(self._index[index]))

    def select(self, indices: Sequence[int]) -> TableRows:
        """These rows, in this order."""
        return TableRows(self._table, self._origins, self._index[np.asarray(indices, dtype=np.int64)])

    def fingerprint(self) -> str:
        """SHA-256 over roles and values, in order."""
        digest = hashlib.sha256(json.dumps(self.roles).encode())
        batch: list[list[Any]] = []
        for row in self:
            batch.append(list(row.values()))
            if len(batch) == _HASHED_AT_A_TIME:
                digest.update(json.dumps(batch, ensure_ascii=False).encode())
                batch.clear()
        digest.update(json.dumps(batch, ensure_ascii=False).encode())
        return digest.hexdigest()

    def _in_order(self) -> bool:
        return len(self._index) == 0 or bool((np.diff(self._index) == 1).all())


class Origins:
    """Where rows came from: a number each, and a run of rows for each file."""

    def __init__(self) -> None:
        self._lines = array("q")
        self._starts: list[int] = []
        self._places: list[Places] = []

    def begin(self, places: Places) -> None:
        """Rows added from now on are of this file."""
        self._starts.append(len(self._lines))
        self._places.append(places)

    def add(self, line: int) -> None:
        """Another row."""
        self._lines.append(line)

    def place(self, row: int) -> str:
        """File and line (or row) of a row."""
        return self._places[bisect_right(self._starts, row) - 1](self._lines[row])


class TextColumn:
    """Texts gathered into Arrow chunks as they come, so that few Python strings are alive at a time."""

    def __init__(self) -> None:
        self._chunks: list[Any] = []
        self._pending: list[str | None] = []
        self._characters = 0

    def add(self, text: str | None) -> None:
        """Another text."""
        self._pending.append(text)
        self._characters += len(text or "")
        if len(self._pending) >= _CHUNK_ROWS or self._characters >= _CHUNK_CHARACTERS:
            self._flush()

    def finish(self) -> Any:
        """The column."""
        self._flush()
        return pa.chunked_array(self._chunks, type=pa.large_string())

    def _flush(self) -> None:
        self._chunks.append(pa.array(self._pending, type=pa.large_string()))
        self._pending, self._characters = [], 0
