"""Prediction as a stream: windows of whatever has arrived, sorted by length inside, order kept, memory constant."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol

from torch import nn

from ftcli.contract import Prediction, Row, Task
from ftcli.engine import world
from ftcli.engine.evaluate import run_model
from ftcli.engine.host import Room
from ftcli.engine.precision import Precision

WINDOW_ROWS = 512
"""Rows per window: sorting inside it fills batches well; more would only add delay and memory."""


class Record(Protocol):
    """An input record: its row by role, or why it cannot be used."""

    @property
    def row(self) -> Row | None: ...
    @property
    def error(self) -> str | None: ...


PATIENCE = 0.05
"""Seconds a window waits for another record of a live stream before it goes to the model as it is."""


def windows(records: Iterable[Any], size: int, *, live: bool) -> Iterator[list[Any]]:
    """Groups of at most `size` records: always full ones, but for a live stream what has arrived so far."""
    waiting: queue.Queue[Any] = queue.Queue(maxsize=2 * size)
    end = object()
    failure: list[BaseException] = []
    stop = threading.Event()

    def put(item: Any) -> None:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=0.2)
                return
            except queue.Full:
                continue

    def read() -> None:
        try:
            for record in records:
                put(record)
                if stop.is_set():
                    return
        except BaseException as error:  # handed to the consumer, which raises it
            failure.append(error)
        put(end)

    threading.Thread(target=read, daemon=True).start()
    try:
        done = False
        while not done:
            group: list[Any] = []
            item = waiting.get()
            while item is not end:
                group.append(item)
                if len(group) == size:
                    break
                try:
                    item = waiting.get(timeout=PATIENCE if live else None)
                except queue.Empty:
                    break
            done = item is end
            if group:
                yield group
        if failure:
            raise failure[0]
    finally:
        stop.set()


def predict(
    task: Task,
    model: nn.Module,
    records: Iterable[Any],
    precision: Precision,
    rows_per_batch: int | None,
    *,
    live: bool,
) -> Iterator[tuple[Any, Prediction | None]]:
    """Each record with its prediction, in order; None where the record cannot be used.

    The processes of a run share each window; the first one reads `records` and has all answers, the others have none.
    """
    room = Room()

    def answers(rows: Sequence[Row]) -> list[Prediction]:
        if not rows:
            return []
        examples = task.encode(rows)
        found, _ = run_model(task, model, examples, precision, rows_per_batch, on_rows=lambda _: room.give_back())
        for example, prediction in zip(examples, found, strict=True):
            if example.get("truncated"):
                prediction["truncated"] = True
        return found

    if not world.leads():
        nothing: list[list[Row] | None] | None = None
        while (given := world.dealt(nothing)) is not None:
            world.at_lead(answers(given))
        return
    try:
        for group in windows(records, world.size() * max(WINDOW_ROWS, rows_per_batch or 0), live=live):
            usable: list[Row] = [{k: v for k, v in r.row.items() if k != "label"} for r in group if r.row is not None]
            share = world.dealt(_shares(usable, world.size()))
            found = iter([one for part in world.at_lead(answers(share)) or () for one in part])
            for record in group:
                yield record, next(found) if record.row is not None else None
    finally:
        world.dealt([None] * world.size())


def _shares(rows: list[Row], count: int) -> list[Any]:
    """`rows` in so many portions of about the same number, in order."""
    ends = [len(rows) * i // count for i in range(count + 1)]
    return [rows[start:stop] for start, stop in pairwise(ends)]
