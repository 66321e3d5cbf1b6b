"""Bytes gathered in order and read at any place: in memory while they are few, in an unnamed file beyond.

Files are read, never mapped: what is read stays in the kernel's cache and is no memory of the process.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np

from ftcli.errors import UsageError

IN_MEMORY = 32 << 20
"""Bytes that a spool holds before it goes to a file."""
_PIECE = 1 << 20
"""Bytes gathered before they are written to the file."""


class Spool:
    """Append with `write`, call `finish` once, then read at any place from any thread."""

    def __init__(self) -> None:
        self._memory = bytearray()
        self._file: Any = None
        self._start = 0
        self.size = 0
        """Bytes written so far."""

    @classmethod
    def of_file(cls, file: Any, size: int, start: int = 0) -> Spool:
        """Part of a file that is open for reading; the file stays open as long as the spool lives."""
        spool = cls()
        spool._file, spool.size, spool._start = file, size, start
        return spool

    @classmethod
    def of_bytes(cls, data: bytes) -> Spool:
        """Bytes that are in memory already."""
        spool = cls()
        spool._memory, spool.size = bytearray(data), len(data)
        return spool

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes at the end."""
        self._memory += data
        self.size += len(data)
        if len(self._memory) >= (IN_MEMORY if self._file is None else _PIECE):
            self._flush()

    def finish(self) -> None:
        """No more bytes will come."""
        if self._file is not None:
            self._flush()

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes from `start` on; only after `finish`."""
        if self._file is None:
            return bytes(memoryview(self._memory)[start : start + size])
        start += self._start
        data = os.pread(self._file.fileno(), size, start)
        while len(data) < size:
            more = os.pread(self._file.fileno(), size - len(data), start + len(data))
            if not more:
                raise OSError(f"a file that holds data of this run was cut to {start + len(data)} bytes")
            data += more
        return data

    def _flush(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="ftcli-", buffering=0)  # noqa: SIM115 (it lives as long as the spool)
            rest = memoryview(self._memory)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise UsageError(
                f"no room for the data in '{tempfile.gettempdir()}': {error.strerror}",
                hint="TMPDIR names another folder for temporary files",
            ) from None
        self._memory = bytearray()


class Numbers:
    """Whole numbers gathered in order, of the smallest type that holds them all."""

    def __init__(self) -> None:
        self._values = np.zeros(1024, np.uint8)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def extend(self, values: Any) -> None:
        """More numbers (an array or a list)."""
        new = np.asarray(values, dtype=np.int64)
        if not len(new):
            return
        kind = smallest(min(0, int(new.min())), int(new.max()), self._values.dtype)
        need = self._count + len(new)
        if kind != self._values.dtype or need > len(self._values):
            room = need if need <= len(self._values) else need + need // 8 + 1024
            grown = np.zeros(max(room, len(self._values)), kind)
            grown[: self._count] = self._values[: self._count]
            self._values = grown
        self._values[self._count : need] = new
        self._count = need

    def array(self) -> Any:
        """All of them."""
        return self._values[: self._count]


def smallest(low: int, high: int, at_least: Any = np.uint8) -> Any:
    """The smallest integer dtype for values from `low` to `high` that also holds all of `at_least`."""
    for kind in (np.uint8, np.uint16, np.uint32, np.int32, np.int64):
        holds = np.iinfo(kind)
        if holds.min <= low and high <= holds.max and np.can_cast(at_least, kind):
            return np.dtype(kind)
    raise OverflowError(f"no integer type holds {low} to {high}")
