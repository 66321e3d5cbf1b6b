"""How one of several processes ended: the word it leaves for whoever started it, and what to make of all of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftcli.errors import FtcliError, Interrupted, LostWorkerError, Stopped
from ftcli.places import Place
from ftcli.text import without_secrets

ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
"""Where torch's elastic agent looks for what a worker has to say of its end."""
UNHEARD = 141
"""Exit code of a worker whose reader left (as a shell gives it): the others need not go on, and nothing is wrong."""
_KINDS = {kind.exit_code: kind for kind in FtcliError.__subclasses__()}
SETTLED = frozenset(_KINDS) - {LostWorkerError.exit_code}
"""Exit codes of the contract that starting anew would only repeat, or that were asked for."""
_LATE = 20.0
"""Seconds after another's end from which a SIGKILL is the agent's own: it gives the rest 30 to leave."""


@dataclass(frozen=True)
class Ending:
    """A process that did not end well."""

    rank: int
    code: int
    """Its exit code; negative: the signal that killed it."""
    at: float
    """When, in seconds since 1970; without a word of its own in whole ones."""
    word: Mapping[str, Any] | None = None
    """What it left: message and hint."""

    def told(self) -> str:
        """How it died, where it said nothing."""
        if self.code >= 0:
            return f"ended with exit code {self.code}"
        try:
            name = signal.Signals(-self.code).name
        except ValueError:
            name = f"signal {-self.code}"
        return f"was killed by {name}" + (" (as the system does where memory runs out)" if name == "SIGKILL" else "")


def leave_word(place: Place, error: FtcliError, environ: Mapping[str, str] = os.environ) -> bool:
    """Write down, where the agent looks for it, how this process ends; False where there is no such place.

    The file is torch's own (``ErrorHandler.record_exception``), so that torchrun shows it too, with a part for ftcli.
    """
    if not environ.get(ERROR_FILE):
        return False
    now = time.time()
    message, hint = without_secrets(error.message), without_secrets(error.hint or "")
    told = f"{message}\nhint: {hint}" if hint else message
    word = {
        "message": {"message": message, "extraInfo": {"py_callstack": told, "timestamp": str(int(now))}},
        "ftcli": {"code": error.exit_code, "message": message, "hint": hint, "at": now, "host": socket.gethostname()},
    }
    path = Path(environ[ERROR_FILE])
    beside = path.with_name(f".{path.name}.{place.rank}.partial")
    try:
        beside.write_text(json.dumps(word), encoding="utf-8")
        beside.replace(path)
    except OSError:
        return False
    return True


def ending(rank: int, code: int, found_at: float, file: Mapping[str, Any]) -> Ending:
    """An ending from its exit code and the content of its error file."""
    word = file.get("ftcli")
    if not isinstance(word, Mapping) or word.get("code") not in (code, 0):
        return Ending(rank, code, found_at)
    return Ending(rank, int(word["code"]), float(word["at"]), word)


def cause(endings: Sequence[Ending]) -> Ending:
    """The one that the others follow from: a death before what its peers met of it, that before having been stopped.

    What died by the agent's own hand after the rest had gone was hanging, and is not the cause by itself.
    """

    def order(own: Ending) -> tuple[int, float]:
        if own.code == -signal.SIGKILL and any(own.at > other.at + _LATE for other in endings):
            return 4, own.at
        if own.code in (-signal.SIGTERM, -signal.SIGINT, Stopped.exit_code, Interrupted.exit_code):
            return (2 if own.word is not None else 3), own.at
        return (1 if own.code == LostWorkerError.exit_code else 0), own.at

    return min(endings, key=order)


def restartable(endings: Sequence[Ending]) -> bool:
    """True where starting anew may help: something died, rather than refused, finished or was stopped."""
    return cause(endings).code not in {*SETTLED, 0, -signal.SIGTERM, -signal.SIGINT}


def verdict(endings: Sequence[Ending], size: int, again: str) -> FtcliError | None:
    """The one error that a run of `size` processes ends with; None where all is well (its reader left).

    `again` is the hint for a process that was lost. What all met alike is said as one process would say it.
    """
    own = cause(endings)
    if own.code == 0:
        return None
    who = f"process {own.rank} of {size} on {socket.gethostname()}"
    if own.code in (-signal.SIGTERM, -signal.SIGINT, Stopped.exit_code, Interrupted.exit_code) and own.word is None:
        kind = Interrupted if own.code in (-signal.SIGINT, Interrupted.exit_code) else Stopped
        return kind("stopped before there was anything to save")
    if own.word is None:
        return LostWorkerError(f"{who} {own.told()}", hint=again)
    message, hint = str(own.word["message"]), str(own.word["hint"]) or None
    if own.code == LostWorkerError.exit_code:
        hung = [other.rank for other in endings if other.code == -signal.SIGKILL]
        if hung:
            named = " and ".join(f"process {rank} of {size}" for rank in hung)
            message = f"{named} on {socket.gethostname()} did not answer and was ended"
        return LostWorkerError(message, hint=hint or again)
    if size > 1 and own.rank != 0 and own.code not in (Stopped.exit_code, Interrupted.exit_code):
        alike = any(o.rank == 0 and o.word is not None and o.word["message"] == message for o in endings)
        message += "" if alike else f" (said by {who})"
    return _KINDS.get(own.code, FtcliError)(message, hint=hint)
