"""The host's own resources: threads as many as the container may use, memory kept instead of given back."""

from __future__ import annotations

import ctypes
import math
import os
from pathlib import Path

import torch

CGROUP = Path("/sys/fs/cgroup")
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Numbers of glibc's mallopt (malloc.h)."""
_GROW_BY = 64 << 20


def settle() -> None:
    """Set both for this process; a user's OMP_NUM_THREADS stands. Nothing here changes a result beyond rounding."""
    if "OMP_NUM_THREADS" not in os.environ:
        threads = usable_cores()
        if threads < torch.get_num_threads():
            torch.set_num_threads(threads)
    keep_memory()


def usable_cores(cgroup: Path = CGROUP) -> int:
    """Cores this process may run on: its affinity, and a container's quota (cgroup v2, then v1), rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return max(1, min(cores, math.ceil(quota))) if quota is not None else cores


def _quota(cgroup: Path) -> float | None:
    """Cores' worth of time the container may use; None where it is not limited."""
    try:
        limit, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return None
    try:
        return float(limit) / float(period) if float(limit) > 0 else None
    except ValueError:  # "max"
        return None


def keep_memory() -> bool:
    """Have glibc serve tensors from a heap that it keeps; False where the C library is another.

    By default each large tensor is mapped anew and the kernel fills it with zeros page by page, step after step.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, 2**31 - 1) and mallopt(_TOP_PAD, _GROW_BY))


class Room:
    """Keeps a kept heap from growing without end: batches of ever other sizes leave it in pieces (glibc only)."""

    def __init__(self, growth: int = 192 << 20) -> None:
        self._growth = growth
        self._usual: int | None = None
        """What the process holds after a piece of work in a tidy heap; None until the first one is done."""

    def give_back(self) -> None:
        """Call after each piece of work: returns what the heap holds free to the kernel once it has grown by so many
        bytes, and by a quarter, over what such work needs, which is left to it otherwise."""
        now = _resident()
        if self._usual is None:
            self._usual = now
        if now - self._usual < max(self._growth, self._usual // 4):
            return
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        except (OSError, AttributeError):
            return
        self._usual = None


def _resident() -> int:
    """Bytes of this process in memory; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
