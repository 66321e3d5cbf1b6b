"""What users are told when something cannot be done: a message, a hint, an exit code."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from difflib import get_close_matches

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors of the operating system that say a place has no room left."""


def system_error(error: BaseException) -> OSError | None:
    """The operating system's error that `error` is, or that it holds in words (as those of safetensors do)."""
    if isinstance(error, OSError):
        return error if error.errno is not None else None
    told = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(told[1]), os.strerror(int(told[1]))) if told else None


class FtcliError(Exception):
    """A failure the user can act on. Shown as ``error: message`` and ``hint: hint``; never as a traceback."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(FtcliError):
    """A bad flag, an unknown recipe key, an unknown model or data name."""

    exit_code = 2


class DataError(FtcliError):
    """Unreadable or malformed data, missing columns or labels; the message names file and line or row."""

    exit_code = 3


class GateError(FtcliError):
    """A ``--fail-under`` gate was not met, or its metric is missing or NaN."""

    exit_code = 4


class DivergedError(FtcliError):
    """The training loss became NaN or infinite."""

    exit_code = 5


class OutOfMemoryError(FtcliError):
    """The model and a batch do not fit into memory."""

    exit_code = 6


class LostWorkerError(FtcliError):
    """One of several processes of a run died or no longer answers; ``--resume`` goes on from the last checkpoint."""

    exit_code = 7


class Stopped(FtcliError):
    """Stopped early on request with a checkpoint saved; ``--resume`` continues."""

    exit_code = 75


class Interrupted(FtcliError):
    """Ctrl-C; a checkpoint was saved where there was something to save."""

    exit_code = 130


def did_you_mean(given: str, names: Iterable[str]) -> str | None:
    """A hint naming the nearest valid name, or all of them where none is near and they are few."""
    known = sorted(names)
    near = get_close_matches(given, known, n=2, cutoff=0.6)
    if near:
        return "did you mean {}?".format(" or ".join(f"'{name}'" for name in near))
    return f"known: {', '.join(known)}" if 0 < len(known) <= 40 else None
