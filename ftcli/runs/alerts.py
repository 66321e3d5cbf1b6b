"""`ftcli predict --watch-rate`: alerts on a stream of predictions, told as they come."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from ftcli.contract import Prediction
from ftcli.contract_options import Labelling
from ftcli.errors import GateError, UsageError, did_you_mean
from ftcli.metrics.rates import Alert, Rate, parse
from ftcli.runs.folder import cannot_write
from ftcli.text import json_line
from ftcli.trackers.console import Console


class Alerts:
    """The rates that are watched, and what was found."""

    def __init__(self, given: Sequence[str], file: str | None, console: Console) -> None:
        """UsageError for a rate that is malformed; nothing is opened yet."""
        if file is not None and not given:
            raise UsageError("--alerts says where alerts go, and no rate is watched", hint="--watch-rate LABEL>0.3/100")
        if file == "-":
            raise UsageError("--alerts - would mix alerts into the answers", hint="name a file; stderr has them anyway")
        self.rates = [Rate(parse(text)) for text in dict.fromkeys(given)]
        self._path = Path(file).expanduser() if file is not None else None
        self._console = console
        self._out: IO[str] | None = None
        self._task: Labelling | None = None
        self.found = 0

    def watch(self, task: Any) -> None:
        """Watch what `task` predicts; UsageError where that has no such labels."""
        if self.rates:
            self._task = _labelling(task, self.rates)

    @contextmanager
    def told(self, output: str | None) -> Iterator[None]:
        """With the file for alerts open, which may not be `output`."""
        if self._path is None:
            yield
            return
        if output is not None and os.path.realpath(self._path) == os.path.realpath(Path(output).expanduser()):
            raise UsageError(f"--alerts and --output are the same file, '{output}'", hint="name two")
        try:
            self._out = self._path.open("a", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise cannot_write(self._path, error, flag="--alerts") from error
        with self._out:
            yield

    def see(self, record: int, prediction: Prediction) -> None:
        """Take in what was predicted of a record that could be used; `record` is its number in the input, from 1."""
        if self._task is None:
            return
        labels = self._task.labels_in(prediction)
        for rate in self.rates:
            alert = rate.add(record, rate.watch.label in labels)
            if alert is not None:
                self._tell(alert)

    def _tell(self, alert: Alert) -> None:
        self.found += 1
        self._write(alert)
        watch = alert.watch
        self._console.alert(
            f"{watch.text}: {alert.rate:.6g} at record {alert.record:,} ({alert.count:,} of the last {watch.window:,})"
        )

    def _write(self, alert: Alert) -> None:
        if self._out is None or self._path is None:
            return
        watch = alert.watch
        line = {
            "alert": watch.text,
            "label": watch.label,
            "op": watch.op,
            "share": watch.share,
            "record": alert.record,
            "rate": alert.rate,
            "count": alert.count,
            "window": watch.window,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        try:
            self._out.write(json_line(line) + "\n")
            self._out.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise cannot_write(self._path, error, flag="--alerts") from error

    def settle(self, failed: int) -> None:
        """GateError where there was an alert, `failed` records that could not be used notwithstanding."""
        if not self.found:
            return
        alerts = "alert" if self.found == 1 else "alerts"
        records = (
            "1 record could not be used and does" if failed == 1 else f"{failed:,} records could not be used and do"
        )
        unused = f" ({records} not count)" if failed else ""
        raise GateError(f"{self.found:,} {alerts} of {', '.join(rate.watch.text for rate in self.rates)}{unused}")


def _labelling(task: Any, rates: Sequence[Rate]) -> Labelling:
    """The task, which has the labels that are watched."""
    if not isinstance(task, Labelling):
        raise UsageError(
            f"--watch-rate watches labels, and {task.name} gives none",
            hint="leave it out, or name a model that classifies",
        )
    known = task.all_labels()
    for rate in rates:
        if rate.watch.label not in known:
            raise UsageError(
                f"--watch-rate: '{rate.watch.label}' is no label of this model",
                hint=did_you_mean(rate.watch.label, known),
            )
    return task
