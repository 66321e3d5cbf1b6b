"""Packed files: which endings mean one, and reading zstd as a stream that says when it is damaged."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any, BinaryIO, cast

PACKED = (".gz", ".zst")
_PIECE = 1 << 14
"""Packed bytes taken at a time: what they unpack to is in memory whole, and may be a thousand times as much."""
_WINDOW = 1 << 31
"""The largest window of a frame (``zstd --long=31``), which large dumps are packed with."""


class Damaged(Exception):
    """What is wrong with a packed file, in words."""


def without_packing(name: str) -> str:
    """A file's name without ``.gz`` or ``.zst``."""
    return name[: name.rindex(".")] if name.lower().endswith(PACKED) else name


def open_bytes(path: Path) -> BinaryIO:
    """The file's content, unpacked where its name ends in ``.gz`` or ``.zst``."""
    kind = path.suffix.lower()
    if kind == ".zst":
        return cast(BinaryIO, io.BufferedReader(_Zstd(path.open("rb", buffering=0)), 1 << 17))
    return cast(BinaryIO, gzip.open(path, "rb")) if kind == ".gz" else path.open("rb")


class _Zstd(io.RawIOBase):
    """The content of a file's zstd frames, one after the other.

    The library's own stream ends where the file ends, even in the middle of a frame; this one raises Damaged there.
    """

    def __init__(self, file: BinaryIO) -> None:
        import zstandard

        self._file = file
        self._error = zstandard.ZstdError
        self._unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        self._frame: Any = None
        self._packed = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            if not self._packed:
                self._packed = self._file.read(_PIECE)
            if not self._packed and self._frame is not None:
                raise Damaged("the zstd file is cut off: it ends before its end marker")
            if not self._packed:
                return 0
            self._unpack()
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _unpack(self) -> None:
        self._frame = self._frame or self._unpacker.decompressobj()
        try:
            self._ready = memoryview(self._frame.decompress(self._packed))
        except self._error as error:
            reason = str(error).removeprefix("zstd decompressor error: ")
            raise Damaged(f"not a valid zstd file ({reason})") from None
        # What follows the end of a frame is another frame.
        self._packed = self._frame.unused_data if self._frame.eof else b""
        self._frame = None if self._frame.eof else self._frame

    def close(self) -> None:
        self._file.close()
        super().close()
