"""Checkpoints written while training goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from ftcli.engine.checkpoint import Snapshot, sync, write_snapshot


class Writer:
    """One thread that writes snapshots into `folder`; a new one waits for the one before.

    A failure is kept for whoever asks: the checkpoint before stays whole and the run decides what it means.
    """

    def __init__(self, folder: Path, keep: int, first: Sequence[Path] = ()) -> None:
        self.folder, self.keep = folder, keep
        self.first = first
        """Files whose lines so far go to the disk before a checkpoint does: a resumed run does not write them again."""
        self.seconds = 0.0
        """How long the last write took."""
        self.written: int | None = None
        """Step of the newest checkpoint that is whole."""
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = None

    def submit(self, snapshot: Snapshot) -> None:
        """Start to write `snapshot`."""
        self.wait()
        self._thread = threading.Thread(target=self._write, args=(snapshot,), name="checkpoint", daemon=True)
        self._thread.start()

    def fail(self, failure: Exception) -> None:
        """A checkpoint could not even be begun."""
        self._failure = failure

    @property
    def failed(self) -> bool:
        """True where a checkpoint was not written, and nobody was told so far."""
        return self._failure is not None

    def wait(self) -> None:
        """Until nothing is being written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def failure(self) -> Exception | None:
        """Why the last write failed, told once; None where it did not, or is still under way."""
        if self._thread is not None and self._thread.is_alive():
            return None
        failure, self._failure = self._failure, None
        return failure

    def _write(self, snapshot: Snapshot) -> None:
        began = time.monotonic()
        try:
            for file in self.first:
                if file.exists():
                    sync(file)
            write_snapshot(self.folder, snapshot, self.keep)
            self.written = snapshot.step
        except Exception as error:
            self._failure = error
        self.seconds = time.monotonic() - began
