"""A process among several of a run: only the first one speaks, and each leaves word of how it ended."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import MutableMapping
from contextlib import suppress

from ftcli.endings import SETTLED, UNHEARD, leave_word
from ftcli.errors import FtcliError, Interrupted, LostWorkerError, Stopped
from ftcli.places import OWN_ROLE, Place, recognise

GRACE = 3.0
"""Seconds that a process waits with an error that all of them meet, so that the first one gets to say it."""
_voices: list[int] = []
"""stderr as it was, in a silent process that is the first of its host: the loss of the others is said on every host."""
_PDEATHSIG = 1
"""Number of Linux's prctl for a signal when the parent ends (sys/prctl.h)."""


def begin(environ: MutableMapping[str, str]) -> Place | None:
    """The place of this process, which is silent from here on unless it is the first; None where it is alone."""
    place = recognise(environ)
    if place is None:
        return None
    environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # else it prints its stack where a peer is lost, besides raising
    if place.launcher == OWN_ROLE:
        _end_with_parent()
    if not place.first:
        if place.local_rank == 0:
            _voices.append(os.dup(2))
        _silence()
    return place


def leave(place: Place | None, error: FtcliError) -> bool:
    """Leave word of `error`, with which this process is about to end; True where it is for this process to say it.

    That is the first of all, unless its parent has heard of it; and of a loss, the first of each host.
    """
    if place is None:
        return True
    heard = leave_word(place, error) and place.launcher == OWN_ROLE
    if not place.first and error.exit_code in SETTLED - {Stopped.exit_code, Interrupted.exit_code}:
        with suppress(SystemExit):  # SIGTERM: whoever started this process has heard of it
            time.sleep(GRACE)
    if isinstance(error, LostWorkerError) and _voices:
        os.dup2(_voices.pop(), 2)
        return True
    return place.first and not heard


def unheard(place: Place | None) -> int:
    """The exit code of a process whose reader left: success, unless others have to be told to leave as well."""
    if place is None or place.launcher != OWN_ROLE:
        return 0
    done = FtcliError("its reader left")
    done.exit_code = 0
    return UNHEARD if leave_word(place, done) else 0


def _silence() -> None:
    """Nothing in, nothing out, whatever the libraries below print."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)


def _end_with_parent() -> None:
    """Be asked to stop when the parent dies without saying so (kill -9), rather than go on unattended. Linux only."""
    try:
        ctypes.CDLL(None).prctl(_PDEATHSIG, int(signal.SIGTERM))
    except (OSError, AttributeError, TypeError):
        return
