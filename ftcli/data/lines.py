"""Bytes to lines: plain and packed files, encodings, and exact places for what cannot be decoded."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ftcli.data.packed import Damaged, open_bytes
from ftcli.errors import DataError, UsageError, did_you_mean

_COMMON = (
    "utf-8",
    "utf-16",
    "utf-32",
    "latin-1",
    "cp1252",
    "ascii",
    "gb18030",
    "shift_jis",
    "euc_jp",
    "koi8-r",
    "big5",
)
_UTF16_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def check_encoding(encoding: str) -> None:
    """A UsageError for an encoding Python does not have."""
    try:
        known = codecs.lookup(encoding)._is_text_encoding
    except (LookupError, ValueError):
        known = False
    if not known:
        raise UsageError(f"unknown encoding '{encoding}'", hint=did_you_mean(encoding, _COMMON))


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Failures of the file system and of unpacking, as DataErrors that name the file and the cause."""
    try:
        yield
    except EOFError:
        raise DataError(f"{name}: the gzip file is cut off: it ends before its end marker") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{name}: not a valid gzip file ({error})") from None
    except Damaged as error:
        raise DataError(f"{name}: {error}") from None
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror or error}") from None


class Lines(Iterator[str]):
    """Decoded lines of a binary stream, line ends kept; reads no further than the line asked for."""

    def __init__(self, stream: BinaryIO, name: str, encoding: str, *, strict: bool = True) -> None:
        check_encoding(encoding)
        self.number = 0
        """Number of the line given last, from 1."""
        self.fault: tuple[int, str] | None = None
        """The last line with bytes that text does not hold, and what they are."""
        self._name = name
        self._encoding = encoding
        self._strict = strict
        self._offset = 0
        canonical = codecs.lookup(encoding).name
        # In UTF-16 and UTF-32 a line end is several bytes long and aligned, so bytes cannot be cut into lines.
        wide = canonical.startswith(("utf-16", "utf-32"))
        self._stream = stream
        self._wide = io.TextIOWrapper(stream, encoding, newline="\n") if wide else None

    def __next__(self) -> str:
        with explained(self._name):
            text = self._next_wide() if self._wide is not None else self._next_line()
        if not text:
            raise StopIteration
        if "\0" in text:
            self.fault = (self.number, "holds a NUL character")
        return text

    def _next_line(self) -> str:
        raw = self._stream.readline()
        if not raw:
            return ""
        self.number += 1
        start = self._offset
        self._offset += len(raw)
        if start == 0 and raw.startswith(codecs.BOM_UTF8):
            raw, start = raw[3:], 3
            if not raw:
                return self._next_line()
        try:
            return raw.decode(self._encoding)
        except UnicodeError as error:
            at = getattr(error, "start", 0)
            if self._strict:
                raise self._undecodable(raw, start, at) from None
            self.fault = (
                self.number,
                f"cannot be decoded as {self._encoding} (byte {raw[at : at + 1].hex()} at {start + at})",
            )
            return raw.decode(self._encoding, "replace")

    def _next_wide(self) -> str:
        assert self._wide is not None
        try:
            text = self._wide.readline()
        except UnicodeError as error:
            raise DataError(
                f"{self._name}, near line {self.number + 1}: cannot be decoded as {self._encoding} ({error})",
                hint="is the file in another encoding? --encoding utf-8",
            ) from None
        self.number += bool(text)
        return text.removeprefix("\ufeff") if self.number == 1 else text

    def _undecodable(self, raw: bytes, start: int, at: int) -> DataError:
        byte = f"byte 0x{raw[at]:02x} at offset {start + at}" if at < len(raw) else f"offset {start + at}"
        what = f"{self._name}, line {self.number}: cannot be decoded as {self._encoding} ({byte})"
        return DataError(what, hint=f"--encoding {fitting_encoding(raw, self._encoding)}")


def fitting_encoding(raw: bytes, tried: str) -> str:
    """An encoding in which these bytes make sense."""
    if raw.startswith(_UTF16_BOMS):
        return "utf-16"
    for encoding in ("utf-8", "cp1252") if any(0x80 <= b <= 0x9F for b in raw) else ("utf-8",):
        try:
            raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if codecs.lookup(encoding).name != codecs.lookup(tried).name:
            return encoding
    return "latin-1"


@contextmanager
def open_lines(path: Path, name: str, encoding: str, *, strict: bool = True) -> Iterator[Lines]:
    """The lines of a file; it is closed afterwards."""
    with explained(name):
        stream = open_bytes(path)
    with stream:
        yield Lines(stream, name, encoding, strict=strict)
