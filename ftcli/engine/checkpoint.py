"""Complete training state on disk: safetensors and JSON, written beside and renamed, never unpickled."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ftcli.engine.loop import Loop
from ftcli.errors import UsageError

MODEL, OPTIMIZER, RANDOM, STATE = "model.safetensors", "optimizer.safetensors", "random.safetensors", "state.json"


def own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and saved buffers under one name each (tied ones once), contiguous and on the host."""
    seen: set[int] = set()
    found: dict[str, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor.detach().cpu().contiguous()
    return found


def save_checkpoint(folder: Path, loop: Loop, progress: dict[str, Any], keep: int) -> Path:
    """Write ``folder/step-XXXXXXXX``, point ``folder/last`` at it and drop all but the newest `keep`.

    `progress` is what the run itself must remember (best score, patience): plain JSON.
    """
    target = folder / f"step-{loop.step:08d}"
    beside = folder / f".{target.name}.partial"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    save_file(own_tensors(loop.model), beside / MODEL)
    tensors, numbers = _optimizer_state(loop)
    save_file(tensors, beside / OPTIMIZER)
    save_file(_random_state(loop), beside / RANDOM)
    state = {
        "loop": loop.state(),
        "optimizer": numbers,
        "scaler": loop.precision.scaler.state_dict(),
        "progress": progress,
    }
    (beside / STATE).write_text(json.dumps(state, indent=1, allow_nan=False), encoding="utf-8")
    for file in beside.iterdir():
        _sync(file)
    if target.exists():
        shutil.rmtree(target)
    beside.rename(target)
    link = folder / ".last.partial"
    link.unlink(missing_ok=True)
    link.symlink_to(target.name, target_is_directory=True)
    link.replace(folder / "last")
    _sync(folder)
    for old in sorted(folder.glob("step-*"))[:-keep]:
        if old != target:
            shutil.rmtree(old)
    return target


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that ``last`` names, or None where there is none."""
    last = folder / "last"
    return last.resolve() if (last / STATE).is_file() else None


def load_checkpoint(path: Path, loop: Loop) -> dict[str, Any]:
    """Put the state of `path` into `loop`; returns the run's own `progress`."""
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        tensors = load_file(path / MODEL)
        moments = load_file(path / OPTIMIZER)
        random = load_file(path / RANDOM)
    except (OSError, ValueError, Exception) as error:
        raise UsageError(
            f"checkpoint '{path}' cannot be read: {error}", hint="start a new run without --resume"
        ) from error
    loop.model.load_state_dict(tensors, strict=False)
    _restore_optimizer(loop, moments, state["optimizer"])
    torch.set_rng_state(random["cpu"])
    if "cuda" in random:
        torch.cuda.set_rng_state(random["cuda"])
    if state["scaler"]:
        loop.precision.scaler.load_state_dict(state["scaler"])
    loop.restore(state["loop"])
    progress: dict[str, Any] = state["progress"]
    return progress


def _optimizer_state(loop: Loop) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Moments as ``<parameter>/<moment>`` tensors; scalars that are not tensors as numbers."""
    names = {id(p): name for name, p in loop.model.named_parameters()}
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, float] = {}
    for parameter, state in loop.optimizer.state.items():
        for key, value in state.items():
            place = f"{names[id(parameter)]}/{key}"
            if isinstance(value, Tensor):
                tensors[place] = value.detach().cpu().contiguous()
            else:
                numbers[place] = value
    return tensors, numbers


def _restore_optimizer(loop: Loop, tensors: dict[str, Tensor], numbers: dict[str, float]) -> None:
    parameters = dict(loop.model.named_parameters())
    for place, value in [*tensors.items(), *numbers.items()]:
        name, key = place.rsplit("/", 1)
        parameter = parameters[name]
        if isinstance(value, Tensor):
            # The step counter of AdamW stays where the optimiser put it; moments follow their parameter.
            value = value.to(parameter.device) if value.ndim or parameter.is_cuda else value
        loop.optimizer.state[parameter][key] = value


def _random_state(loop: Loop) -> dict[str, Tensor]:
    found = {"cpu": torch.get_rng_state()}
    if loop.precision.device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(loop.precision.device)
    return found


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
