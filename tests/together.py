"""`ftcli` in several processes that work together, as a launcher would start them, forked for speed."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
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


def run_together(size: int, *arguments: str, cwd: Path, before: Callable[[int], None] | None = None) -> str:
    """Run `ftcli ARGUMENTS` in `size` processes to a good end; what rank 0 said."""
    children = start_together(size, *arguments, cwd=cwd, before=before)
    codes = [child.wait(LIMIT) for child in children]
    assert codes == [0] * size, "\n".join(child.said() for child in children)
    return children[0].said()
