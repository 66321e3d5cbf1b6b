"""`ftcli` in several processes that work together, as a launcher would start them, forked for speed."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.forked import Child, start

LIMIT = 120
"""Seconds after which a run is taken to hang."""


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_together(size: int, *arguments: str, cwd: Path, before: Callable[[int], None] | None = None) -> list[Child]:
    """Start `ftcli ARGUMENTS` in `size` processes; `before` runs in each first and gets its rank."""
    port = free_port()

    def of_rank(rank: int) -> Callable[[], None]:
        def prepare() -> None:
            os.environ.update(
                RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(size),
                MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
            )  # fmt: skip
            if before is not None:
                before(rank)

        return prepare

    return [
        start(*arguments, cwd=cwd, before=of_rank(rank), log=cwd / f"rank{rank}-{port}.log") for rank in range(size)
    ]


def ends(children: Sequence[Child]) -> list[int]:
    """The exit codes of all; a failure that tells what each said and where it is, where one still runs after LIMIT."""
    deadline = time.monotonic() + LIMIT
    while None in (codes := [child.poll() for child in children]):
        if time.monotonic() > deadline:
            running = [child for child, code in zip(children, codes, strict=True) if code is None]
            found = [f"rank {children.index(child)}:\n{child.stacks()}" for child in running]
            for child in running:
                child.kill(signal.SIGKILL)
            said = [f"rank {rank} ended with {code}:\n{children[rank].said()}" for rank, code in enumerate(codes)]
            raise AssertionError("\n".join([f"still running after {LIMIT} s", *found, *said]))
        time.sleep(0.005)
    return [code for code in codes if code is not None]


def run_together(size: int, *arguments: str, cwd: Path, before: Callable[[int], None] | None = None) -> str:
    """Run `ftcli ARGUMENTS` in `size` processes to a good end; what rank 0 said."""
    children = start_together(size, *arguments, cwd=cwd, before=before)
    codes = ends(children)
    assert codes == [0] * size, "\n".join(child.said() for child in children)
    return children[0].said()
