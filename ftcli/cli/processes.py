"""``--nproc-per-node`` and ``--max-restarts``: a command becomes the parent of processes that run it together."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from ftcli.cli.options import MaxRestarts, Processes
from ftcli.cli.training import deadline_of
from ftcli.endings import verdict
from ftcli.errors import UsageError
from ftcli.places import recognise

Command = Callable[..., None]
_OWN = ("--nproc-per-node", "--max-restarts")


def in_processes(command: Command) -> Command:
    """Give a command the two flags; with them it runs in processes of its own, each with the rest of the line.

    A stream cannot be read twice: a command that has an ``output`` is not started anew.
    """
    signature = inspect.signature(command, eval_str=True)
    given: dict[str, tuple[Any, Any]] = {"nproc_per_node": (None, Processes), "max_restarts": (0, MaxRestarts)}
    if "output" in signature.parameters:
        del given["max_restarts"]
    own = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (default, kind) in given.items()
    ]

    def spread(*, nproc_per_node: str | None, max_restarts: int = 0, **arguments: Any) -> None:
        if nproc_per_node is None and not max_restarts:
            return command(**arguments)
        count = _count(nproc_per_node, arguments.get("device"))
        if count == 1 and not max_restarts:
            return command(**arguments)
        return start(sys.argv[1:], count, max_restarts, arguments)

    spread.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *own])  # type: ignore[attr-defined]
    spread.__doc__, spread.__name__ = command.__doc__, command.__name__
    spread.__annotations__ = {**command.__annotations__, **{p.name: p.annotation for p in own}}
    return spread


def _count(text: str | None, device: str | None) -> int:
    """How many processes; UsageError for what is no number, and inside of another launcher."""
    place = recognise(os.environ)
    if place is not None:
        raise UsageError(
            f"--nproc-per-node and --max-restarts start processes, and this one is {place}",
            hint="leave them out here, or start ftcli by itself",
        )
    if text is None:
        return 1
    if text == "auto":
        from ftcli.runs.processes import processes_here

        return processes_here(device)
    if re.fullmatch(r"[1-9]\d{0,3}", text, re.ASCII) is None:
        raise UsageError(f"--nproc-per-node is '{text[:80]}'; expected a number from 1 on, or auto")
    return int(text)


def start(line: Sequence[str], count: int, restarts: int, arguments: dict[str, Any]) -> None:
    """Run `count` processes of the command `line`; raises the one error that says how they ended."""
    deadline = deadline_of(arguments.get("budget"))
    from ftcli.runs.processes import run
    from ftcli.trackers.console import Console

    console = Console(quiet=bool(arguments.get("quiet")))
    failed = run(
        sys.executable,
        lambda: ["-m", "ftcli", *worker_line(line, None if deadline is None else deadline - time.monotonic())],
        count,
        restarts=restarts,
        note=console.note,
    )
    if failed and (error := verdict(failed, count, _again(arguments, restarts))) is not None:
        raise error


def worker_line(line: Sequence[str], left: float | None = None) -> list[str]:
    """The command line without the two flags; `left` seconds are what is still to spend of a ``--budget``."""
    found: list[str] = []
    words = iter(line)
    for word in words:
        flag, given, _ = word.partition("=")
        if flag == "--":
            return [*found, word, *words]
        if flag not in _OWN and (flag != "--budget" or left is None):
            found.append(word)
            continue
        if not given:
            next(words, None)
        if flag == "--budget" and left is not None:
            found.append(f"--budget={max(1.0, left):.1f}s")
    return found


def _again(arguments: dict[str, Any], restarts: int) -> str:
    """How to go on after a process was lost."""
    if "resume" not in arguments:
        return "run it again"
    out = arguments.get("out")
    place = f" --out {shlex.quote(out)}" if out else ""
    more = "" if restarts else "; --max-restarts 3 would have done so by itself"
    return f"the same command with --resume{place} goes on from the last checkpoint{more}"
