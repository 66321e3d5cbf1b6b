"""Encoded splits kept for the next run, by content: raw arrays in one file each, checked when read.

An entry is named after a hash of all that made it, written beside and renamed, and never changed. One that is damaged
counts as missing, and so does a folder that cannot be read or written: the cache is a help, never a need.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ftcli.data.spool import IN_MEMORY, Spool
from ftcli.data.tokens import Field, Tokens

LARGEST = 10 << 30
"""Bytes of all entries together; the least recently used go first."""
_MAGIC = b"ftcli-tokens-1\n"
_PIECE = 1 << 22
_STALE = 24 * 3600.0
"""Seconds after which a file half written is one that nobody goes on with."""


def user_folder() -> Path:
    """Where ftcli keeps what it can find again unless somebody says otherwise: XDG's place, else ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "ftcli"


def key_of(facts: Mapping[str, Any]) -> str:
    """The name of an entry."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class TokenCache:
    """A folder of entries, shared by any number of processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, key: str) -> Tokens | None:
        """The entry, whole and checked; None where there is none. Large ones stay on disk and are read as needed."""
        path = self._path(key)
        try:
            file = path.open("rb", buffering=0)
        except OSError:
            return None
        try:
            tokens = _read(file)
        except (OSError, ValueError, KeyError, TypeError):
            file.close()
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)  # used now
        return tokens

    def save(self, key: str, tokens: Tokens) -> bool:
        """Keep an entry; False where that cannot be done."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".partial-", dir=self.folder)
            try:
                with open(handle, "wb") as file:
                    _write(file, tokens)
                Path(name).replace(self._path(key))
            finally:
                with suppress(OSError):
                    os.unlink(name)
            self._make_room()
        except OSError:
            return False
        return True

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.tokens"

    def _make_room(self) -> None:
        """Remove what was left half written, and the entries used longest ago while all are too many."""
        found = []
        for path in self.folder.iterdir():
            with suppress(OSError):  # another process removed it
                status = path.stat()
                if path.name.startswith(".partial-") and time.time() - status.st_mtime > _STALE:
                    path.unlink()
                elif path.suffix == ".tokens":
                    found.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found)[:-1]:
            if total <= LARGEST:
                break
            with suppress(OSError):
                path.unlink()
            total -= size


def _write(file: Any, tokens: Tokens) -> None:
    """The arrays one after the other, then what they are, then how long that is."""
    sections: dict[int, dict[str, Any]] = {}

    def section(source: Any, pieces: Iterator[bytes]) -> dict[str, Any]:
        if id(source) not in sections:
            start, check = file.tell(), 0
            for piece in pieces:
                check = zlib.crc32(piece, check)
                file.write(piece)
            sections[id(source)] = {"start": start, "size": file.tell() - start, "crc32": check}
        return sections[id(source)]

    fields = []
    for name, field in tokens.fields.items():
        facts = {"name": name, "kind": field.kind, "stored": field.stored.str, "ends_stored": field.ends.dtype.str}
        facts["ends"] = section(field.ends, iter([field.ends.tobytes()]))
        facts["data"] = section(field.data, _pieces(field.data)) if field.data is not None else None
        fields.append(facts)
    footer = json.dumps({"count": len(tokens), "fields": fields}).encode()
    file.write(footer)
    file.write(len(footer).to_bytes(8, "little") + zlib.crc32(footer).to_bytes(4, "little") + _MAGIC)


def _pieces(spool: Spool) -> Iterator[bytes]:
    for start in range(0, spool.size, _PIECE):
        yield spool.read(start, min(_PIECE, spool.size - start))


def _read(file: Any) -> Tokens:
    """What `_write` wrote; ValueError (or OSError) for anything else."""
    size = os.fstat(file.fileno()).st_size
    whole = Spool.of_file(file, size)
    tail = 12 + len(_MAGIC)
    _require(size > tail)
    end = whole.read(size - tail, tail)
    length = int.from_bytes(end[:8], "little")
    _require(end[12:] == _MAGIC and length <= size - tail)
    footer = whole.read(size - tail - length, length)
    _require(zlib.crc32(footer) == int.from_bytes(end[8:12], "little"))
    facts = json.loads(footer)
    opened: dict[int, Any] = {}

    def section(found: Mapping[str, Any], kind: np.dtype[Any] | None) -> Any:
        """A checked section as an array, or (without a kind) as a spool; fields may share one."""
        start, many = int(found["start"]), int(found["size"])
        if start not in opened:
            part = Spool.of_file(file, many, start)
            pieces = _pieces(part)
            kept = list(pieces) if kind is not None or many <= IN_MEMORY else None
            check = 0
            for piece in pieces if kept is None else kept:
                check = zlib.crc32(piece, check)
            _require(check == found["crc32"])
            if kind is not None:
                opened[start] = np.frombuffer(b"".join(kept or ()), kind)
            else:
                opened[start] = part if kept is None else Spool.of_bytes(b"".join(kept))
        return opened[start]

    fields = {
        entry["name"]: Field(
            entry["kind"],
            section(entry["ends"], np.dtype(entry["ends_stored"])),
            np.dtype(entry["stored"]),
            section(entry["data"], None) if entry["data"] is not None else None,
        )
        for entry in facts["fields"]
    }
    return Tokens(fields, int(facts["count"]))


def _require(condition: bool) -> None:
    if not condition:
        raise ValueError("not an entry of the cache")
