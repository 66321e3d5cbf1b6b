"""Threads by a container's quota, and memory that is kept between steps."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from ftcli.engine import host

CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, CORES),
        ({"cpu.max": "max 100000\n"}, CORES),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "150000 100000\n"}, min(2, CORES)),
        ({"cpu.max": "6400000 100000\n"}, min(64, CORES)),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, CORES),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu.max": "nonsense\n"}, CORES),
    ],
)
def test_cores_by_quota(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert host.usable_cores(tmp_path) == expected


FAULTS = """
import resource, sys, torch
from ftcli.engine.host import keep_memory
if sys.argv[1] == "keep" and not keep_memory():
    sys.exit(9)
for warm_up in (True, False):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        a = [torch.ones(16_000_000) for _ in range(2)]
        del a
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=False)
    if done.returncode == 9:
        pytest.skip("another C library than glibc")
    return int(done.stdout)


def test_memory_is_not_mapped_anew_at_every_step() -> None:
    pages = 5 * 2 * 64_000_000 // resource.getpagesize()
    assert faults("default") > pages // 2
    # Three processes: in one of some hundreds the heap still grew for a few rounds. Each draws its own hash seed and
    # addresses, which lay it out.
    assert any(faults("keep") < pages // 100 for _ in range(3))
