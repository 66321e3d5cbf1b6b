"""Memory: what a forward and backward pass takes, by rows, and what there is of it."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from ftcli.contract import Example, Learner
from ftcli.engine.device import to_device
from ftcli.engine.host import CGROUP
from ftcli.engine.precision import Precision
from ftcli.engine.regularized import passes
from ftcli.engine.seeding import randomness_kept

MEMINFO = Path("/proc/meminfo")
USABLE_DEVICE, USABLE_HOST = 0.9, 0.8
"""Share of the free memory a run plans with: allocators waste some, and a host has other users."""
LATER_DEVICE, LATER_HOST = 3, 6
"""Copies of the trained weights a run adds: gradients, two moments; on the host a checkpoint under way as well."""


@dataclass(frozen=True)
class Need:
    """Bytes of one forward and backward pass."""

    fixed: int
    per_row: int

    def rows_within(self, room: int) -> int:
        """How many rows fit into `room` bytes."""
        return max(0, room - self.fixed) // max(1, self.per_row)


def measure(task: Learner, model: nn.Module, precision: Precision, longest: Sequence[Example]) -> Need:
    """What passes over rows like the `longest` take, from passes over one and two of them."""
    if precision.device.type == "cuda":
        probe(task, model, precision, longest[:1])  # libraries take their workspaces the first time
    one = probe(task, model, precision, longest[:1])
    two = probe(task, model, precision, [longest[0], *longest[:2][-1:]])
    # What the forward pass keeps grows with the rows; the peak hides that where gradients outweigh a row.
    per_row = max(peak - before for peak, before in zip(two, one, strict=True))
    return Need(max(0, max(one) - per_row), per_row)


def probe(task: Learner, model: nn.Module, precision: Precision, examples: Sequence[Example]) -> tuple[int, int]:
    """Bytes held after a training pass forward, and the most there were until the end of the one backward.

    Weights, buffers, gradients and every random state are as before afterwards. Raises what runs out of memory.
    """
    training, gradients = model.training, [(p, p.grad) for p in model.parameters()]
    buffers = [(b, b.detach().clone()) for b in model.buffers()]
    meter: _Cuda | _Counted = _Cuda(precision.device) if precision.device.type == "cuda" else _Counted()
    try:
        model.zero_grad(set_to_none=True)
        with randomness_kept(precision.device):
            model.train()
            batch = to_device(task.collate(examples), precision.device)
            held = 0
            with meter:
                for sums in passes(task, model, batch, precision):
                    loss = torch.stack(list(sums.values())).sum()
                    held = max(held, meter.held)
                    torch.autograd.backward(loss)
        return held, meter.peak
    finally:
        model.train(training)
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for buffer, before in buffers:
            buffer.copy_(before)


class _Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that come and go inside, on any device; nothing of it is estimated."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held = self.peak = 0
        self._known: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id(t.untyped_storage()) for t in tree_iter((args, kwargs)) if isinstance(t, Tensor)}
        outputs = func(*args, **(kwargs or {}))
        for tensor in tree_iter(outputs):
            storage = tensor.untyped_storage() if isinstance(tensor, Tensor) else None
            if storage is None or id(storage) in given or storage in self._known:
                continue
            self._known[storage] = size = storage.nbytes()
            self.held += size
            self.peak = max(self.peak, self.held)
            weakref.finalize(storage, self._gone, size)
        return outputs

    def _gone(self, size: int) -> None:
        self.held -= size


class _Cuda:
    """What CUDA's allocator says: kernels' workspaces are in it."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._before = device, 0

    def __enter__(self) -> None:
        torch.cuda.synchronize(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        self._before = torch.cuda.memory_allocated(self._device)

    def __exit__(self, *error: object) -> None:
        torch.cuda.synchronize(self._device)

    @property
    def held(self) -> int:
        return int(torch.cuda.memory_allocated(self._device) - self._before)

    @property
    def peak(self) -> int:
        return int(torch.cuda.max_memory_allocated(self._device) - self._before)


def room(model: nn.Module, device: torch.device) -> int | None:
    """Bytes a pass may take while a run of `model` is under way; None where the system does not say what is free."""
    free = free_memory(device)
    if free is None:
        return None
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    usable, later = (USABLE_HOST, LATER_HOST) if device.type == "cpu" else (USABLE_DEVICE, LATER_DEVICE)
    return int(usable * free) - later * trained


def free_memory(device: torch.device) -> int | None:
    """Bytes that tensors on `device` can still take."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + unused)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return host_memory()


def host_memory(cgroup: Path = CGROUP, meminfo: Path = MEMINFO) -> int | None:
    """Bytes free on the host, inside the container's limit (cgroup v2, then v1) where there is one."""
    found = [_available(meminfo), _within(cgroup, "memory.max", "memory.current", "inactive_file")]
    if found[1] is None:
        v1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        found.append(_within(cgroup / "memory", *v1))
    known = [number for number in found if number is not None]
    return min(known) if known else None


def _available(meminfo: Path) -> int | None:
    if meminfo.is_file():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:  # macOS: half of what there is
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return None


def _within(folder: Path, limit: str, usage: str, reclaimable: str) -> int | None:
    """What the container may still take; files that are only cached are given back when memory is short."""
    files = [folder / limit, folder / usage, folder / "memory.stat"]
    if not all(file.is_file() for file in files):
        return None
    most, used, stat = (file.read_text() for file in files)
    if most.strip() == "max":
        return None
    cached = next((int(line.split()[1]) for line in stat.splitlines() if line.startswith(f"{reclaimable} ")), 0)
    return max(0, int(most) - int(used) + cached)


def portions(rows: int) -> list[int]:
    """Rows per pass that make a step of `rows` in equal passes, largest first."""
    return [size for size in range(rows, 0, -1) if rows % size == 0]


def largest_that_runs(sizes: Sequence[int], run: Callable[[int], object], ran_out: Callable[[Exception], bool]) -> int:
    """The first of `sizes` (largest first) that `run` has the memory for; the last one unseen."""
    for size in sizes[:-1]:
        try:
            run(size)
            return size
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
    return sizes[-1]
