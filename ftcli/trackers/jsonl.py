"""metrics.jsonl: a JSON object a line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from ftcli.errors import FULL
from ftcli.text import jsonable


class Jsonl:
    """Appends records to ``metrics.jsonl`` in a folder, each line at once; a full disk gets them when it has room."""

    def __init__(self, folder: Path) -> None:
        self.path = Path(folder) / "metrics.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self._keep(lambda record: True)
        self._file = self._open()
        self._held = b""

    def log(self, record: Mapping[str, Any]) -> None:
        """Write one record; NaN and infinities become null."""
        self._held += (json.dumps(jsonable(record), allow_nan=False) + "\n").encode()
        try:
            self.flush()
        except OSError as error:
            if error.errno not in FULL:
                raise

    def flush(self) -> None:
        """Write what a full disk held back; OSError while it is full."""
        while self._held:
            self._held = self._held[self._file.write(self._held) :]

    def truncate_after(self, step: int) -> None:
        """Drop the records of later steps, and the closing score: a resumed run writes them again."""
        self.close()
        self._keep(lambda record: _step(record) <= step and not record.get("final"))
        self._file = self._open()

    def close(self) -> None:
        """Close the file."""
        try:
            self.flush()
        finally:
            self._file.close()

    def _open(self) -> FileIO:
        return self.path.open("ab", buffering=0)

    def _keep(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Rewrite the file with the wanted records; a line cut short by a kill is never wanted."""
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        kept = [
            line for line in lines if line.endswith("\n") and (record := _record(line)) is not None and wanted(record)
        ]
        if len(kept) < len(lines):
            beside = self.path.with_suffix(".jsonl.tmp")
            beside.write_text("".join(kept), encoding="utf-8")
            os.replace(beside, self.path)


def _step(record: Mapping[str, Any]) -> float:
    step = record.get("step")
    return step if isinstance(step, int | float) else 0


def _record(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
