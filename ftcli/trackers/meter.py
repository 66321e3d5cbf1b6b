"""How far a piece of work is, how fast it goes and how long it still takes, in words."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ftcli.text import visible

_WINDOW, _FEWEST, _APART = 30.0, 10, 0.1
"""The current rate is taken over so many seconds, but no fewer than so many moments so many seconds apart: steady where
answers come in bursts, quick to follow a change."""


class Meter:
    """Counts units done, and optionally rows, against a clock. `start` units were done before (a resumed run)."""

    def __init__(
        self, description: str, total: int | None, unit: str, *, start: int, clock: Callable[[], float]
    ) -> None:
        self.description = visible(description)
        self.total = total
        self.done = start
        self.fields: dict[str, Any] = {}
        self._unit = visible(unit)
        self._rows = 0
        self._clock = clock
        self._began = clock()
        self._start = start
        self._recent = deque([(self._began, start, 0)])

    def advance(self, n: int, rows: int, fields: dict[str, Any]) -> None:
        """Count `n` more units and `rows` more rows; `fields` replace those of the same name."""
        self.done += n
        self._rows += rows
        self.fields.update(fields)
        now = self._clock()
        if (n or rows) and now - self._recent[-1][0] >= _APART:
            self._recent.append((now, self.done, self._rows))
            while len(self._recent) > _FEWEST and now - self._recent[0][0] > _WINDOW:
                self._recent.popleft()

    def status(self) -> str:
        """``120/1406 steps  5.9 rows/s  left 0:21:10  loss 0.31``."""
        since, done, rows = self._recent[0]
        until, latest, latest_rows = self._recent[-1]
        seconds = until - since
        speed = (latest - done) / seconds if seconds > 0 else 0.0
        parts = [self._count(), self._rate(speed, (latest_rows - rows) / seconds if seconds > 0 else 0.0)]
        if self.total is not None and speed > 0:
            parts.append(f"left {duration(max(0, self.total - self.done) / speed)}")
        return "  ".join(part for part in [*parts, *self._named()] if part)

    def summary(self) -> str:
        """``train 1406/1406 steps  5.9 rows/s  took 0:21:10  loss 0.31``: the line that stays."""
        seconds = self._clock() - self._began
        speed = (self.done - self._start) / seconds if seconds > 0 else 0.0
        rate = self._rate(speed, self._rows / seconds if seconds > 0 else 0.0)
        parts = [f"{self.description} {self._count()}", rate, f"took {duration(seconds)}", *self._named()]
        return "  ".join(part for part in parts if part)

    def _count(self) -> str:
        return f"{self.done}/{self.total} {self._unit}" if self.total is not None else f"{self.done} {self._unit}"

    def _rate(self, speed: float, rows_speed: float) -> str:
        if self._rows:
            return f"{_figure(rows_speed)} rows/s"
        return f"{_figure(speed)} {self._unit}/s" if speed > 0 else ""

    def _named(self) -> list[str]:
        return [f"{visible(name)} {_shown(value)}" for name, value in self.fields.items()]


def duration(seconds: float) -> str:
    """``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _figure(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 100 else f"{rate:.1f}" if rate >= 1 else f"{rate:.2g}"


def _shown(value: Any) -> str:
    given = value() if callable(value) else value
    return f"{given:.4g}" if isinstance(given, float) else visible(given)
