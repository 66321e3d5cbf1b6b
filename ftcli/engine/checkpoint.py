"""Complete training state on disk: safetensors and JSON under a manifest of checksums, never unpickled.

A checkpoint is a folder ``step-XXXXXXXX``. It is written beside, synced, listed in its manifest and renamed, and only
then does ``last`` point at it: whatever moment a process dies at, ``last`` names a whole one. Every tensor has a name
of its own (a parameter's, or ``parameter/moment``), so that a sharded run can write the same names from many processes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ftcli.engine.loop import Loop
from ftcli.engine.row_adamw import RowAdamW, spread
from ftcli.engine.seeding import random_state, restore_random_state
from ftcli.errors import UsageError
from ftcli.models.methods.based import base_weights

MODEL, OPTIMIZER, RANDOM = "model.safetensors", "optimizer.safetensors", "random.safetensors"
STATE, MANIFEST, BEST, BESIDE = "state.json", "manifest.json", "best.safetensors", "regularizers.safetensors"
FORMAT = 1
ASIDE = ".before"
"""Ending of a checkpoint that is kept while the same step's is written anew."""
_MISFIT = (
    OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, OverflowError, SafetensorError,
)  # fmt: skip
"""What comes of a checkpoint whose checksums are right and whose content is not."""


class DamagedError(Exception):
    """A checkpoint that is not what its manifest says."""


@dataclass(frozen=True)
class Snapshot:
    """Training state copied out of the loop's reach, so that the loop can go on while it is written."""

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    """File name -> tensors by name."""
    state: Mapping[str, Any]
    best: Path | None
    """The best weights so far, which the checkpoint keeps as well."""

    @property
    def size(self) -> int:
        """Bytes it takes on disk, near enough."""
        own = sum(t.numel() * t.element_size() for tensors in self.tensors.values() for t in tensors.values())
        return own + (self.best.stat().st_size if self.best is not None else 0)


def own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and saved buffers under one name each (tied ones once), contiguous and on the host."""
    seen: set[int] = set()
    found: dict[str, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor.detach().cpu().contiguous()
    return found


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """`own_tensors` without those of a base model that a method leaves as they are."""
    base = base_weights(model)
    return {name: tensor for name, tensor in own_tensors(model).items() if name not in base}


def take_snapshot(
    loop: Loop, progress: Mapping[str, Any], best: Path | None, beside: Mapping[str, Tensor] | None = None
) -> Snapshot:
    """The state of `loop` now. `progress` is what the run itself must remember (best score, patience): plain JSON;
    `beside` are tensors that regularisers must."""
    moments, numbers = _optimizer_state(loop)
    random, random_numbers = random_state(loop.precision.device)
    tensors = {MODEL: trained_tensors(loop.model), OPTIMIZER: moments, RANDOM: random}
    if beside:
        tensors[BESIDE] = {name: tensor.detach().cpu().contiguous() for name, tensor in beside.items()}
    state = {
        "loop": loop.state(),
        "optimizer": numbers,
        "random": random_numbers,
        "scaler": loop.precision.scaler.state_dict(),
        "progress": dict(progress),
    }
    copies = {file: {name: t.clone() for name, t in of_file.items()} for file, of_file in tensors.items()}
    return Snapshot(loop.step, copies, json.loads(json.dumps(state, allow_nan=False)), best)


def write_snapshot(folder: Path, snapshot: Snapshot, keep: int) -> Path:
    """Write ``folder/step-XXXXXXXX``, point ``folder/last`` at it and drop all but the newest `keep`.

    Raises OSError (or safetensors' own error) where it cannot be written; what was there before stays whole.
    """
    target = folder / f"step-{snapshot.step:08d}"
    beside = folder / f".{target.name}.partial"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        for file, tensors in snapshot.tensors.items():
            save_file(dict(tensors), beside / file)
        if snapshot.best is not None:
            link_or_copy(snapshot.best, beside / BEST)
        (beside / STATE).write_text(json.dumps(snapshot.state, indent=1), encoding="utf-8")
        files = {file.name: {"bytes": file.stat().st_size, "sha256": _hash(file)} for file in sorted(beside.iterdir())}
        (beside / MANIFEST).write_text(json.dumps({"format": FORMAT, "files": files}, indent=1), encoding="utf-8")
        for written in beside.iterdir():
            sync(written)
        sync(beside)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    _put(beside, target)
    for old in checkpoints(folder)[keep:]:
        shutil.rmtree(old)
    return target


def _put(beside: Path, target: Path) -> None:
    """Make `beside` the checkpoint `target`, in the place of one of that name; ``last`` names a whole one meanwhile."""
    aside, old = target.with_name(target.name + ASIDE), target.with_name(f".{target.name}.old.partial")
    copy = target.with_name(f".{aside.name}.partial")

    def clear() -> None:
        for path in filter(Path.exists, (aside, copy, old)):
            shutil.rmtree(path)

    if target.exists():
        _point_last_at(target)
        clear()  # what a write that failed may have left
        copy.mkdir()
        for file in target.iterdir():
            link_or_copy(file, copy / file.name)
        copy.rename(aside)
        _point_last_at(aside)
        target.rename(old)
    beside.rename(target)
    _point_last_at(target)
    clear()


def checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, newest first; whether they are still whole is another question."""
    return sorted((p for p in folder.glob("step-*") if p.is_dir()), reverse=True)


def verify(path: Path) -> None:
    """DamagedError where `path` is not byte for byte what its manifest says."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        files = dict(manifest["files"])
        if manifest["format"] != FORMAT:
            raise DamagedError(f"format {manifest['format']} of another version of ftcli")
        for name, expected in files.items():
            file = path / Path(name).name
            if file.stat().st_size != expected["bytes"]:
                raise DamagedError(f"{name} has {file.stat().st_size:,} bytes instead of {expected['bytes']:,}")
            if _hash(file) != expected["sha256"]:
                raise DamagedError(f"{name} does not match its checksum")
    except FileNotFoundError as error:
        raise DamagedError(f"{Path(str(error.filename)).name} is missing") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{MANIFEST} cannot be read ({error})") from None
    missing = {MODEL, OPTIMIZER, RANDOM, STATE} - set(files)
    if missing:
        raise DamagedError(f"{', '.join(sorted(missing))} is not in its manifest")


def load_newest(folder: Path, restore: Callable[[Path], None]) -> tuple[Path | None, list[str]]:
    """`restore` the newest checkpoint that is whole and fits; None where there is none, and what is wrong with others.

    Raises UsageError where the only whole ones hold what does not fit: `restore` may have left its mark then.
    """
    problems: list[str] = []
    misfit = None
    for path in checkpoints(folder):
        try:
            verify(path)
            restore(path)
        except DamagedError as damage:
            problems.append(f"{path.name} is damaged: {damage}")
            continue
        except _MISFIT as error:
            misfit = f"{path.name} does not fit this run: {type(error).__name__} {str(error)[:200]}"
            problems.append(misfit)
            continue
        return path, problems
    if misfit is not None:
        raise UsageError(f"{folder}: {misfit}", hint="start anew with another --out")
    return None, problems


def load_checkpoint(path: Path, loop: Loop) -> dict[str, Any]:
    """Put the state of the whole checkpoint `path` into `loop`; returns the run's own `progress`."""
    state = json.loads((path / STATE).read_text(encoding="utf-8"))
    for file in (MODEL, BEST):
        check_weights(path / file, loop.model)
    loop.model.load_state_dict(load_file(path / MODEL), strict=False)
    _restore_optimizer(loop, load_file(path / OPTIMIZER), state["optimizer"])
    restore_random_state(load_file(path / RANDOM), state["random"], loop.precision.device)
    if state["scaler"]:
        loop.precision.scaler.load_state_dict(state["scaler"])
    loop.restore(state["loop"])
    if min(loop.step, loop.epoch, loop.position) < 0:
        raise ValueError("a position before the first step")
    loop.rows_at(loop.epoch, loop.position)  # LookupError where there is no such step
    progress: dict[str, Any] = state["progress"]
    return progress


def kept_beside(path: Path) -> dict[str, Tensor]:
    """What regularisers kept in the whole checkpoint `path`."""
    return load_file(path / BESIDE) if (path / BESIDE).exists() else {}


def check_weights(path: Path, model: nn.Module) -> None:
    """ValueError (or safetensors' own error) where the weights in `path`, if it is there, are not those of `model`."""
    if not path.exists():
        return
    expected = {name: list(tensor.shape) for name, tensor in trained_tensors(model).items()}
    with safe_open(path, "pt") as weights:
        found = {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
    for name in sorted({*found, *expected}):
        if found.get(name) != expected.get(name):
            raise ValueError(f"'{name}' has the shape {found.get(name)}, not {expected.get(name)}")


def discard_after(folder: Path, step: int) -> None:
    """Drop what a process that died left half-written, and checkpoints of later steps than the one gone back to."""
    target = folder / f"step-{step:08d}"
    aside = target.with_name(target.name + ASIDE)
    if aside.is_dir() and not target.exists():
        aside.rename(target)
    if target.is_dir():
        _point_last_at(target)
    else:
        (folder / "last").unlink(missing_ok=True)
    for partial in folder.glob(".*.partial"):
        if partial.is_dir() and not partial.is_symlink():
            shutil.rmtree(partial)
        else:
            partial.unlink()
    for path in checkpoints(folder):
        if path.name > f"step-{step:08d}":
            shutil.rmtree(path)


def link_or_copy(source: Path, target: Path) -> None:
    """`target` as another name of `source`'s bytes, or a copy where the file system has no links."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _point_last_at(target: Path) -> None:
    link = target.parent / ".last.partial"
    link.unlink(missing_ok=True)
    link.symlink_to(target.name, target_is_directory=True)
    link.replace(target.parent / "last")
    sync(target.parent)


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


def _restore_optimizer(loop: Loop, tensors: Mapping[str, Tensor], numbers: Mapping[str, float]) -> None:
    parameters = dict(loop.model.named_parameters())
    loop.optimizer.state.clear()
    loop.optimizer.zero_grad(set_to_none=True)
    for place, value in [*tensors.items(), *numbers.items()]:
        name, key = place.rsplit("/", 1)
        parameter = parameters[name]
        if isinstance(value, Tensor) and (value.ndim or parameter.is_cuda):
            # AdamW keeps its step counter on the host unless it is fused on a GPU; moments follow their parameter.
            value = value.to(parameter.device)
        loop.optimizer.state[parameter][key] = value
    if not isinstance(loop.optimizer, RowAdamW):  # the run went on from a CPU to a GPU
        for weight, state in loop.optimizer.state.items():
            if "rows" in state:
                spread(weight, state)


def _hash(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Have a file or folder on the disk itself, not only in memory."""
    with suppress(PermissionError):  # some systems do not open folders
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
