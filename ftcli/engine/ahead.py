"""The next step's batches, collated and pinned in a thread while the device works on this step's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from ftcli.contract import Batch

Collate = Callable[[np.ndarray], Batch]

ON = {"cuda"}
"""Devices that work while the host goes on. On a CPU the thread would take its time from the model."""


class Ahead:
    """Batches of a step, asked for one step before they are needed.

    Only what is the same whenever it is done happens in the thread: nothing there draws a random number. What was made
    for other rows or another size than those needed (after a rollback, or out of memory) is made again.
    """

    def __init__(self, collate: Collate, device: torch.device, *, pin: bool) -> None:
        self._collate, self._pin = collate, pin and device.type == "cuda"
        self._thread = ThreadPoolExecutor(1, "batches") if device.type in ON else None
        self._waiting: tuple[tuple[bytes, int], Future[list[Batch]]] | None = None

    def start(self, rows: np.ndarray, size: int) -> None:
        """Begin with the batches of `rows`, `size` rows in each."""
        if self._thread is not None:
            self._waiting = _key(rows, size), self._thread.submit(self._make, rows, size)

    def take(self, rows: np.ndarray, size: int) -> list[Batch]:
        """The batches of `rows`: those begun before, or else made now."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None and waiting[0] == _key(rows, size):
            return waiting[1].result()
        return self._make(rows, size)

    def _make(self, rows: np.ndarray, size: int) -> list[Batch]:
        batches = [self._collate(part) for part in parts(rows, size)]
        return [pinned(batch) for batch in batches] if self._pin else batches


def parts(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """`rows` in portions of at most `size`, in order."""
    return (rows[start : start + size] for start in range(0, len(rows), size))


def pinned(batch: Batch) -> Batch:
    """`batch` in memory that a GPU copies from by itself."""
    return {k: v.pin_memory() if isinstance(v, Tensor) else v for k, v in batch.items()}


def _key(rows: np.ndarray, size: int) -> tuple[bytes, int]:
    return rows.tobytes(), size
