"""What a person sees on stderr while ftcli works: messages and progress, never a result.

On a terminal progress is a Rich bar. Elsewhere (a pipe, a CI log, ``NO_COLOR``, ``TERM=dumb``) everything is plain
text without control codes, and progress an occasional line.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

from ftcli.text import visible
from ftcli.trackers.meter import Meter

PLAIN_EVERY = 10.0
"""Seconds between plain progress lines."""
BAR_EVERY = 0.2
"""Seconds between redraws of a bar's figures."""


_LOG = logging.getLogger(__name__)
"""Where there is a run, its log.txt has what was said, --quiet or not."""


class Work(Protocol):
    """A piece of work whose progress is shown."""

    def advance(self, n: int = 1, *, rows: int = 0, **fields: Any) -> None:
        """Count `n` more units. With `rows` the rate is in rows; `fields` (``loss=0.31``) stay until replaced.

        A field may be a function: it is called only when a line is drawn, so a loss can stay on its device till then.
        """


class Console:
    """Messages and progress on `stream` (stderr); when `quiet` nothing but alerts."""

    def __init__(
        self, quiet: bool = False, stream: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr  # None too where stderr is closed
        self._quiet = quiet or self._stream is None
        self._clock = clock
        self._screen = _Screen(self._stream) if not self._quiet and _is_terminal(self._stream) else None

    @property
    def plain(self) -> bool:
        """True where text goes to a pipe or a log: it should keep to ASCII."""
        return self._screen is None

    def info(self, text: str) -> None:
        """Say `text` (lines are kept)."""
        self._say(text, "", logging.INFO)

    def note(self, text: str) -> None:
        """Say something worth knowing: a choice made for the user."""
        self._say(f"note: {text}", "dim", logging.INFO)

    def warn(self, text: str) -> None:
        """Say that something may not be as the user wants it."""
        self._say(f"warning: {text}", "yellow", logging.WARNING)

    def alert(self, text: str) -> None:
        """Say what was asked to be told, even when quiet."""
        shown = visible(f"alert: {text}")
        _LOG.log(logging.WARNING, shown)
        if self._screen is not None:
            self._screen.say(shown, "bold red")
        elif self._stream is not None:
            self._plain(shown)

    @contextmanager
    def progress(
        self, description: str, total: int | None, unit: str, *, start: int = 0, keep: bool = True
    ) -> Iterator[Work]:
        """Show work of `total` units (None: unknown), `start` of them done before. They may nest.

        With `keep` a line with the outcome stays when it ends; none where an exception ends it.
        """
        meter = Meter(description, total, unit, start=start, clock=self._clock)
        if self._quiet:
            yield _Lines(meter, lambda line: None, self._clock)
        elif self._screen is None:
            yield _Lines(meter, self._plain, self._clock)
        else:
            with self._screen.bar(meter, self._clock) as bar:
                yield bar
        if keep:
            self._say(meter.summary(), "", logging.INFO)

    def _say(self, text: str, style: str, level: int) -> None:
        shown = visible(text, keep="\n")
        if shown:
            _LOG.log(level, shown.removeprefix("warning: "))
        if self._quiet:
            return
        if self._screen is None:
            self._plain(shown)
        else:
            self._screen.say(shown, style)

    def _plain(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class _Lines:
    """Progress as a plain line now and then."""

    def __init__(self, meter: Meter, write: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._meter, self._write, self._clock = meter, write, clock
        self._last = clock()

    def advance(self, n: int = 1, *, rows: int = 0, **fields: Any) -> None:
        """See `Work.advance`."""
        self._meter.advance(n, rows, fields)
        now = self._clock()
        if now - self._last >= PLAIN_EVERY and self._meter.done != self._meter.total:
            self._last = now
            self._write(f"{self._meter.description} {self._meter.status()}")


class _Screen:
    """A terminal, through Rich (imported here, so that plain output never pays for it)."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.table import Column

        self._console = RichConsole(file=stream, highlight=False, markup=False, emoji=False)
        wide = self._console.width >= 100  # at 80 columns the figures need all the room there is
        self._bars = Progress(
            *([] if wide else [SpinnerColumn()]),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, min_width=8)),
            *([BarColumn(bar_width=min(40, self._console.width - 90))] if wide else []),
            *([TimeElapsedColumn()] if wide else []),
            TextColumn("{task.fields[status]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=self._console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def say(self, text: str, style: str) -> None:
        self._console.print(text, style=style, soft_wrap=True)

    @contextmanager
    def bar(self, meter: Meter, clock: Callable[[], float]) -> Iterator[_Bar]:
        """A bar for `meter`; the display runs while there is any bar."""
        task = self._bars.add_task(meter.description, total=meter.total, completed=meter.done, status=meter.status())
        self._bars.start()

        def draw() -> None:
            self._bars.update(task, completed=meter.done, status=meter.status())

        try:
            yield _Bar(meter, draw, clock)
        finally:
            self._bars.remove_task(task)
            if not self._bars.task_ids:
                self._bars.stop()


class _Bar:
    """Progress as a bar, its figures redrawn a few times a second."""

    def __init__(self, meter: Meter, draw: Callable[[], None], clock: Callable[[], float]) -> None:
        self._meter, self._draw, self._clock = meter, draw, clock
        self._last = 0.0

    def advance(self, n: int = 1, *, rows: int = 0, **fields: Any) -> None:
        """See `Work.advance`."""
        self._meter.advance(n, rows, fields)
        now = self._clock()
        if now - self._last >= BAR_EVERY:
            self._last = now
            self._draw()
