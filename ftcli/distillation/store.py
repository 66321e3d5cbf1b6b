"""A teacher's answers on disk: safetensors in portions of rows, found by content, written as they come.

An entry is a folder named after a hash of all that its answers depend on. Each portion is written beside and renamed,
so that whoever is stopped goes on where it was, and two runs may fill one entry at the same time. What is damaged
counts as missing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ftcli.distillation.soft import by_row, stacked

PORTION = 512
"""Rows of a file."""
LARGEST = 20 << 30
"""Bytes of all entries together; the least recently used go first."""
COUNTS = {"logits": "targets", "first": "texts"}
"""What an answer has a part for, by the first word of its name; others have one for each token."""
_WIDTHS = "widths"
"""Choices of each row's soft answers, which are kept end to end."""


class AnswerStore:
    """The answers to `count` rows, in the order of the rows."""

    def __init__(self, folder: Path, key: str, count: int, names: Sequence[str]) -> None:
        self.folder, self.path, self.count, self.names = folder, folder / key, count, sorted(names)
        self._open: dict[int, Any] = {}
        self._ends: dict[int, dict[str, np.ndarray]] = {}
        self._shapes: dict[int, np.ndarray] = {}
        with suppress(OSError):
            os.utime(self.path)  # used now

    def missing(self) -> list[range]:
        """Rows of the portions that are not there yet."""
        return [rows for portion, rows in enumerate(self._portions()) if not self._whole(portion, len(rows))]

    def write(self, rows: range, answers: Sequence[Mapping[str, Tensor]]) -> None:
        """A portion: the answers to each of its rows. OSError where it cannot be written."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        tensors = {name: torch.cat([_kept(name, one[name]) for one in answers]) for name in self.names}
        for name in self.names:
            tensors[_many(name)] = torch.tensor([len(one[name]) for one in answers], dtype=torch.int64)
        tensors[_WIDTHS] = torch.tensor([one["logits"].shape[1] for one in answers], dtype=torch.int64)
        handle, beside = tempfile.mkstemp(prefix=".partial-", dir=self.path)
        os.close(handle)
        try:
            save_file({name: x.contiguous() for name, x in tensors.items()}, beside)
            Path(beside).replace(self._file(rows.start // PORTION))
        finally:
            with suppress(OSError):
                os.unlink(beside)

    def row(self, row: int) -> dict[str, Tensor]:
        """The answers to one row: soft ones (targets, choices), states (texts, width) or (tokens, width)."""
        portion, at = divmod(row, PORTION)
        if portion not in self._open:
            opened: Any = safe_open(self._file(portion), "pt")
            counts = {name: opened.get_tensor(_many(name)).numpy() for name in self.names}
            widths = opened.get_tensor(_WIDTHS).numpy()
            shapes = np.stack([counts["logits"], widths], 1)
            counts["logits"] = shapes.prod(1)
            self._ends[portion] = {name: np.concatenate([[0], np.cumsum(many)]) for name, many in counts.items()}
            self._shapes[portion] = shapes
            self._open[portion] = {name: opened.get_slice(name) for name in self.names}
        slices, ends = self._open[portion], self._ends[portion]
        found = {name: slices[name][int(ends[name][at]) : int(ends[name][at + 1])] for name in self.names}
        return {**found, "logits": found["logits"].view(*map(int, self._shapes[portion][at]))}

    def _portions(self) -> Iterator[range]:
        return (range(start, min(start + PORTION, self.count)) for start in range(0, self.count, PORTION))

    def _file(self, portion: int) -> Path:
        return self.path / f"rows-{portion:06d}.safetensors"

    def _whole(self, portion: int, rows: int) -> bool:
        file = self._file(portion)
        try:
            with safe_open(file, "pt") as opened:
                found = set(opened.keys()) == {*self.names, *map(_many, self.names), _WIDTHS}
                return found and opened.get_slice(_WIDTHS).get_shape() == [rows]
        except (OSError, SafetensorError):
            with suppress(OSError):
                file.unlink()
            return False

    def make_room(self) -> None:
        """Remove the entries used longest ago, other than this one, while all are too large."""
        found = []
        with suppress(OSError):
            for entry in self.folder.iterdir():
                with suppress(OSError):
                    size = sum(file.stat().st_size for file in entry.iterdir())
                    found.append((entry.stat().st_mtime, size, entry))
        total = sum(size for _, size, _ in found)
        for _, size, entry in sorted(found):
            if total <= LARGEST:
                return
            if entry != self.path:
                shutil.rmtree(entry, ignore_errors=True)
                total -= size


def _kept(name: str, x: Tensor) -> Tensor:
    return x.flatten() if name == "logits" else x


def _many(name: str) -> str:
    """Name of how many parts an answer has in each row."""
    return f"{COUNTS.get(name.split('.')[0], 'tokens')}.count"


def joined(each: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Answers to rows as answers to a batch: those of all rows end to end."""
    return {
        name: stacked([one[name] for one in each]) if name == "logits" else torch.cat([one[name] for one in each])
        for name in each[0]
    }


def parted(answers: Mapping[str, Tensor], counts: Mapping[str, Sequence[int]]) -> list[dict[str, Tensor]]:
    """Answers to a batch as answers to rows; `counts` are targets, texts and tokens of each row, by these names."""
    split = {
        name: by_row(x, counts["targets"])
        if name == "logits"
        else torch.split(x, list(counts[COUNTS.get(name.split(".")[0], "tokens")]))
        for name, x in answers.items()
    }
    return [{name: parts[row] for name, parts in split.items()} for row in range(len(counts["targets"]))]
