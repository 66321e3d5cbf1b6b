"""The other processes of a run, when they die or no longer answer: what torch says of it, in words of the contract."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch.distributed as dist

from ftcli.errors import LostWorkerError
from ftcli.places import Place

_SAID = re.compile(
    # gloo, of a peer that is gone
    r"connection (?:closed|reset|refused|aborted)|socket closed|broken pipe|(?:read|write) error \[|pair closure"
    r"|application timeout caused|network is unreachable|no route to host|connect\w* (?:failed|timed? ?out)"
    # gloo and torch's store, of one that does not answer
    r"|timed out waiting|(?:wait|socket) (?:has )?time[ds]? ?out|timeout after \d+ ?ms|monitoredbarrier"
    # NCCL
    r"|nccl(?:remote|system)error|remote process exit|collective operation timeout|communicator (?:was|is) aborted",
    re.IGNORECASE,
)


def lost_peer(error: BaseException) -> bool:
    """True for what a collective or the store raises where another process has died or does not answer in time."""
    if isinstance(error, dist.DistNetworkError | dist.DistStoreError):
        return True
    return isinstance(error, RuntimeError) and _SAID.search(str(error)) is not None


@contextmanager
def lost_workers_named(place: Place | None, folder: Path | None = None) -> Iterator[None]:
    """Turns the loss of another process into LostWorkerError, which says who saw it and how to go on; alone, nothing.

    The original goes to the log.
    """
    try:
        yield
    except RuntimeError as error:
        if place is None or place.size == 1 or not lost_peer(error):
            raise
        logging.getLogger(__name__).error("%s: %s", type(error).__name__, error)
        where = f" --out {folder}" if folder is not None else ""
        hint = f"the same command with --resume{where} goes on from the last checkpoint" if folder else "run it again"
        raise LostWorkerError(
            f"another process of this run has ended or does not answer; "
            f"seen by process {place.rank} of {place.size} on {socket.gethostname()}",
            hint=hint,
        ) from error
