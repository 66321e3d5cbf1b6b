"""All randomness from one seed, and its whole state for checkpoints."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ftcli.engine import world


def seed_everything(seed: int, *, deterministic: bool = False) -> None:
    """Seed Python, NumPy and torch; `deterministic` also refuses kernels whose bits vary."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


@contextmanager
def randomness_kept(device: torch.device) -> Iterator[None]:
    """Whatever draws random numbers inside (libraries do, some only the first time), training goes on as without it."""
    before = random_state(device)
    try:
        yield
    finally:
        restore_random_state(*before, device)


def torch_state(device: torch.device) -> dict[str, Tensor]:
    """State of torch's generators."""
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        found["mps"] = torch.mps.get_rng_state()
    return found


def restore_torch_state(tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """Put back what `torch_state` gave."""
    torch.set_rng_state(tensors["cpu"])
    if device.type == "cuda" and "cuda" in tensors:
        torch.cuda.set_rng_state(tensors["cuda"], device)
    if device.type == "mps" and "mps" in tensors:
        torch.mps.set_rng_state(tensors["mps"])


def random_state(device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State of every generator: tensors, and what is plain JSON."""
    tensors = torch_state(device)
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    tensors["numpy"] = torch.from_numpy(np.asarray(keys).astype(np.int64))
    tensors["python"] = torch.tensor(words, dtype=torch.int64)
    return tensors, {
        "python": [version, gauss],
        "numpy": [kind, int(position), int(has_gauss), float(cached)],
    }


def restore_random_state(tensors: Mapping[str, Tensor], numbers: Mapping[str, Any], device: torch.device) -> None:
    """Put back what `random_state` gave."""
    restore_torch_state(tensors, device)
    version, gauss = numbers["python"]
    random.setstate((version, tuple(tensors["python"].tolist()), gauss))
    kind, position, has_gauss, cached = numbers["numpy"]
    np.random.set_state((kind, tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, cached))


def everybodys_random_state(device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """`random_state` of every process, those after the first under ``rank1/...``; collective."""
    states = world.gathered(random_state(device))
    tensors, numbers = dict(states[0][0]), dict(states[0][1])
    for rank, (of_rank, plain) in enumerate(states[1:], 1):
        tensors |= {f"rank{rank}/{name}": tensor for name, tensor in of_rank.items()}
        numbers[f"rank{rank}"] = plain
    return tensors, numbers


def restore_own_random_state(tensors: Mapping[str, Tensor], numbers: Mapping[str, Any], device: torch.device) -> None:
    """Put back this process' part of `everybodys_random_state`; where fewer there were, the first one's moved on."""
    rank = world.rank()
    if rank == 0 or f"rank{rank}" not in numbers:
        own = {name: tensor for name, tensor in tensors.items() if "/" not in name}
        restore_random_state(own, numbers, device)
        if rank:
            apart(rank)
        return
    prefix = f"rank{rank}/"
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    restore_random_state(own, numbers[f"rank{rank}"], device)


def apart(rank: int) -> None:
    """Have the processes after the first draw other random numbers than it, though they were seeded alike."""
    if rank:
        torch.manual_seed((torch.initial_seed() + 1_000_003 * rank) % 2**63)
