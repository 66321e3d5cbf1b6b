"""A worker in miniature: ftcli's own way in and out, around a command that does what its argument says.

Nothing heavy is imported, so that a process takes half a second.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from ftcli.cli import app
from ftcli.errors import DataError, LostWorkerError, Stopped, UsageError
from ftcli.places import recognise


def command(**_: Any) -> None:
    place = recognise(os.environ)
    assert place is not None
    first = place.first
    what = sys.argv[1]
    print(f"rank {place.rank} says {what} on {os.environ.get('OMP_NUM_THREADS')}", flush=True)
    print(f"rank {place.rank} notes", file=sys.stderr, flush=True)
    if what == "read" or (what == "killed-once" and place.restarts):
        print("read", repr(sys.stdin.read()), "start", place.restarts, sys.argv[2:], flush=True)
        if not first:
            assert not sys.stdin.read()
    elif what == "refuse":
        time.sleep(0.6 if first else 0.0)
        raise UsageError("no such thing", hint="another thing")
    elif what == "data-of-one" and not first:
        raise DataError("row 7 is bad")
    elif what == "bug-of-one" and not first:
        raise ValueError("a token: hf_abcdefghijklmnop123456")
    elif what.startswith("killed") and not first:
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "lost":
        raise LostWorkerError("another process is gone", hint="--resume")
    elif what == "broken" and first:
        raise BrokenPipeError
    else:
        until_stopped(what)


def until_stopped(what: str) -> None:
    """Work that a signal ends as training does, or at which the loss of a peer is noticed."""
    try:
        if what == "stopped":
            with open("ready", "a", encoding="utf-8") as file:
                file.write("x")
        time.sleep(30)
    except (SystemExit, KeyboardInterrupt):
        if what == "stopped":
            raise Stopped("stopped at step 3", hint="go on with --resume") from None
        raise LostWorkerError("another process is gone") from None


if __name__ == "__main__":
    app.app = command  # type: ignore[assignment]
    app.main()
