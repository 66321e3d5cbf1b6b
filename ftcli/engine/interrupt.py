"""Signals and deadlines that ask a run to stop: noticed between steps, so that what is saved is whole."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


class Leave(BaseException):
    """Raised out of work that can be done again, where the run was asked to stop; no failure, so nothing catches it."""


class StopRequest:
    """While active, signals set `signal` instead of ending the process; a second SIGINT ends it at once.

    `deadline` (on `time.monotonic`'s clock) is a request of its own: it counts what saving takes. So is `at`, a step.
    """

    def __init__(self, deadline: float | None = None, at: int | None = None) -> None:
        self.signal: int | None = None
        self.deadline = deadline
        self.at = at
        self.step = 0
        """The step that the run is at."""
        self.needed = 0.0
        """Seconds that the next step and saving take: as much is kept free before the deadline."""
        self._at_once = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._asked)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        around = getattr(self._before.get(self.signal or 0), "__self__", None)
        if isinstance(around, StopRequest):  # what this work did not need to answer, the work around it does
            around.signal = self.signal

    @property
    def due(self) -> bool:
        """True when asked to stop, or when no more than the time needed is left before the deadline."""
        late = self.deadline is not None and time.monotonic() + self.needed >= self.deadline
        return self.signal is not None or late or (self.at is not None and self.step >= self.at)

    def leave_if_due(self) -> None:
        """Raise `Leave` when `due`."""
        if self.due:
            raise Leave

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Work with nothing to save, which may take minutes: a signal ends it where it is."""
        self._at_once = True
        try:
            self.leave_if_due()
            yield
        finally:
            self._at_once = False

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal == signal.SIGINT:
            os._exit(130)
        self.signal = number
        if self._at_once:
            raise Leave
