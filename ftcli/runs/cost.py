"""What training took, kept in environment.json under ``training``: parameters, time, steps, memory."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ftcli.engine import world
from ftcli.engine.loop import Loop
from ftcli.models.load import Source
from ftcli.runs.folder import write_whole

FILE, KEY = "environment.json", "training"


def begun(model: nn.Module, run: Path, *, resume: bool) -> dict[str, Any]:
    """The record of a session of the run that begins.

    ``seconds`` are those of the training loop (validations and checkpoints included) over all sessions; null once one
    of them was killed, since what it took is not known. Of several processes, ``communication_seconds`` are those that
    the first one spent on telling the others and waiting for them in the last session; of fsdp, without what its layers
    do while they compute.
    """
    parameters = list(model.parameters())
    before = training_of(run) if resume else {"seconds": 0.0}
    return {
        "parameters": sum(p.numel() for p in parameters),
        "trained_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "seconds": None if before.get("running") else before.get("seconds"),
        "steps": before.get("steps", 0),
        "peak_memory_bytes": before.get("peak_memory_bytes"),
        "running": True,
    }


@contextmanager
def measured(run: Path, loop: Loop) -> Iterator[None]:
    """Adds what the training inside takes to the run's record, however it ends."""
    began, anew = time.perf_counter(), loop.step == 0
    try:
        yield
    finally:
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):  # a full disk, or no such record
            facts = json.loads((run / FILE).read_text(encoding="utf-8"))
            found = facts[KEY]
            earlier = 0.0 if anew else found["seconds"]
            seconds = None if earlier is None else earlier + time.perf_counter() - began
            peaks = [size for size in (found["peak_memory_bytes"], peak_memory(loop.precision.device)) if size]
            peak = max(peaks, default=None)
            found |= {"seconds": seconds, "steps": loop.step, "peak_memory_bytes": peak, "running": False}
            if loop.ranks.size > 1:
                found |= {"processes": loop.ranks.size, "strategy": loop.ranks.strategy}
                found |= {"communication_seconds": loop.ranks.seconds}
            if world.leads():
                write_whole(run / FILE, json.dumps(facts, indent=2, allow_nan=False) + "\n")


def training_of(run: Path | None) -> dict[str, Any]:
    """The record of a run; empty where it has none."""
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return dict(json.loads((Path(run or "") / FILE).read_text(encoding="utf-8"))[KEY]) if run is not None else {}
    return {}


def size_on_disk(source: Source) -> int | None:
    """Bytes of the model's files (of a method that saves only its own weights, of those); None where not known."""
    if source.location is None:
        return None
    folder = Path(source.location)
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(source.location, "config.json", revision=source.revision)
        if not isinstance(config, str):
            return None
        folder = Path(config).parent
    files = (path for path in folder.rglob("*") if not any(p.startswith(".") for p in path.relative_to(folder).parts))
    return sum(path.stat().st_size for path in files if path.is_file())


def peak_memory(device: torch.device) -> int | None:
    """Bytes held at most so far: of an accelerator what tensors took there, else of the whole process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most if sys.platform == "darwin" else most * 1024)
