"""Signals that ask a run to stop: noticed between steps, so that what is saved is whole."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Any


class StopRequest:
    """While active, SIGINT and SIGTERM set `signal` instead of ending the process; a second SIGINT ends it at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._asked)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal == signal.SIGINT:
            os._exit(130)
        self.signal = number
