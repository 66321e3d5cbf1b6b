"""Values that are files: where one lies, how a split keeps many of them, which names end like one.

A row holds an image or a sound as the path of its file or as the bytes of one, never decoded: that is done where a task
encodes the row.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ftcli.contract import Kind
from ftcli.data.paths import get, there
from ftcli.data.reader import Raw
from ftcli.data.spool import Numbers, Spool
from ftcli.data.text_files import json_kind
from ftcli.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".pbm")
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".au")
SUFFIXES: Mapping[Kind, tuple[str, ...]] = {"image": IMAGE_SUFFIXES, "audio": AUDIO_SUFFIXES}
"""Kinds whose values are files -> how the names of such files end."""
STRUCT = {"bytes", "path"}
"""Fields of the structs that the datasets library keeps files in."""


def kind_of_file(path: Path) -> Kind | None:
    """The kind of value that a file is, by its name; None for none of these."""
    if path.name.startswith("."):
        return None
    return next((kind for kind, suffixes in SUFFIXES.items() if path.suffix.lower() in suffixes), None)


def are_files(values: Sequence[Any], kind: Kind) -> bool:
    """True where the values of a column look like files of `kind`: their bytes, their names, or structs of the two."""
    present = [value for value in values if value is not None]
    return bool(present) and all(_looks_like(value, kind) for value in present)


def _looks_like(value: Any, kind: Kind) -> bool:
    if isinstance(value, dict):
        return set(value) <= STRUCT and any(_looks_like(part, kind) for part in value.values()) and _named(value, kind)
    if isinstance(value, bytes):
        return is_sound(value) == (kind == "audio")
    return isinstance(value, str) and value.lower().endswith(SUFFIXES[kind])


def _named(struct: Mapping[str, Any], kind: Kind) -> bool:
    """False where a struct's path says that it is a file of another kind."""
    path = struct.get("path")
    known = kind_of_file(Path(path)) if isinstance(path, str) and path else None
    return known in (None, kind)


def is_sound(content: bytes) -> bool:
    """True for bytes that begin as sound files do."""
    head = content[:12]
    if head[:4] == b"RIFF":
        return head[8:12] == b"WAVE"
    mp3 = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2
    return head[:4] in (b"fLaC", b"OggS", b"FORM", b".snd", b"RF64") or head[:3] == b"ID3" or mp3


def located(raw: Raw, fields: Sequence[str], folder: Path | None) -> Raw:
    """The record with the files in `fields` as whole paths or as bytes; what is neither stays as it is.

    A path starts from `folder`, that of the file it stands in, or from where the command runs.
    """
    if raw.values is None or not fields:
        return raw
    found = {field: _located(get(raw.values, field), folder) for field in fields if there(raw.values, field)}
    return raw._replace(values={**raw.values, **found})


def _located(value: Any, folder: Path | None) -> Any:
    if isinstance(value, dict) and set(value) <= STRUCT:
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    if not isinstance(value, str) or not value.strip() or "://" in value:
        return value
    path = os.path.expanduser(value)
    beside = os.path.join(folder, path) if folder is not None else path
    return os.path.abspath(beside if os.path.lexists(beside) else path)


def file_fault(value: Any, role: str, what: str) -> str | None:
    """What makes a value no file that could be decoded; None where it is one, or bytes. `what` names the kind."""
    if value is None:
        return f"{role} is null"
    if isinstance(value, str):
        if not value.strip():
            return f"{role} is empty"
        if "://" in value:
            return f"{role} is an address ({value[:80]}), not a file; download it first"
        return None if os.path.isfile(value) else f"{role}: there is no file '{value}'"
    return None if isinstance(value, bytes) else f"{role} is {json_kind(value)}, not {what}"


def name_of(value: str | bytes) -> str:
    """A file's path as messages quote it, behind a space; nothing for bytes."""
    return f" '{value}'" if isinstance(value, str) else ""


class Files:
    """Files of a column: paths and bytes, one after the other."""

    def __init__(self, ends: Any, paths: Any, data: Spool) -> None:
        self._ends, self._paths, self._data = ends, paths, data

    def __len__(self) -> int:
        return len(self._ends)

    def many(self, rows: Any) -> list[str | bytes]:
        """The files of these rows: `str` is a path."""
        found: list[str | bytes] = []
        for row in np.asarray(rows).tolist():
            start = int(self._ends[row - 1]) if row else 0
            value = self._data.read(start, int(self._ends[row]) - start)
            found.append(value.decode("utf-8", "surrogateescape") if self._paths[row] else value)
        return found

    def prints(self, rows: Any) -> list[str]:
        """Hashes of the files' content: the same files elsewhere, or under other names, are the same data."""
        return [hashlib.sha256(_content(value)).hexdigest() for value in self.many(rows)]


def _content(value: str | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return Path(value).read_bytes()
    except OSError as error:
        raise DataError(f"'{value}' cannot be read: {error.strerror or error}") from None


class FileColumn:
    """Files gathered as they come."""

    def __init__(self) -> None:
        self._data, self._ends, self._paths = Spool(), Numbers(), Numbers()

    def add(self, value: Any) -> None:
        """Another file: a path or bytes."""
        is_path = isinstance(value, str)
        self._data.write(value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value)
        self._ends.extend([self._data.size])
        self._paths.extend([int(is_path)])

    def finish(self) -> Files:
        """The column."""
        self._data.finish()
        return Files(self._ends.array(), self._paths.array(), self._data)
