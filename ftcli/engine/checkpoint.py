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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from ftcli.engine import world
from ftcli.engine.loop import Loop
from ftcli.engine.seeding import everybodys_random_state
from ftcli.engine.shares import save_shares
from ftcli.errors import UsageError
from ftcli.models.methods.based import base_weights
from ftcli.models.whole import whole

MODEL, OPTIMIZER, RANDOM = "model.safetensors", "optimizer.safetensors", "random.safetensors"
STATE, MANIFEST, BEST, BESIDE = "state.json", "manifest.json", "best.safetensors", "regularizers.safetensors"
SHARES = "shares"
"""Folder, in the place of the files of model and optimiser, of a run whose processes hold shares of them (`shares`)."""
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
    shares: Mapping[str, Tensor] = field(default_factory=dict)
    """``model/NAME`` and ``optimizer/NAME/MOMENT`` -> tensors of which each process has a share; all of them write."""

    @property
    def size(self) -> int:
        """Bytes it takes on disk, near enough."""
        own = sum(
            t.numel() * t.element_size() for tensors in (*self.tensors.values(), self.shares) for t in tensors.values()
        )
        return own + (self.best.stat().st_size if self.best is not None else 0)


def _kept(tensor: Tensor) -> Tensor:
    return tensor.detach()


def _whole(tensor: Tensor) -> Tensor:
    return whole(tensor.detach()).cpu().contiguous()


def own_tensors(model: nn.Module, form: Callable[[Tensor], Tensor] = _whole) -> dict[str, Tensor]:
    """Parameters and saved buffers under one name each (tied ones once); whole, contiguous and on the host, or in
    another form."""
    seen: set[int] = set()
    found: dict[str, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = form(tensor)
    return found


def trained_tensors(model: nn.Module, form: Callable[[Tensor], Tensor] = _whole) -> dict[str, Tensor]:
    """`own_tensors` without those of a base model that a method leaves as they are."""
    base = base_weights(model)
    return {name: tensor for name, tensor in own_tensors(model, form).items() if name not in base}


def take_snapshot(
    loop: Loop, progress: Mapping[str, Any], best: Path | None, beside: Mapping[str, Tensor] | None = None
) -> Snapshot:
    """The state of `loop` now. `progress` is what the run itself must remember (best score, patience): plain JSON;
    `beside` are tensors that regularisers must."""
    shared = loop.ranks.strategy == "fsdp"
    moments, numbers = _optimizer_state(loop, _kept if shared else _whole)
    random, random_numbers = everybodys_random_state(loop.precision.device)
    model = trained_tensors(loop.model, _kept if shared else _whole)
    tensors = {RANDOM: random} if shared else {MODEL: model, OPTIMIZER: moments, RANDOM: random}
    shares = {f"model/{name}": t for name, t in model.items()} | {f"optimizer/{name}": t for name, t in moments.items()}
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
    plain = json.loads(json.dumps(state, allow_nan=False))
    return Snapshot(loop.step, copies, plain, best, {n: t.clone() for n, t in shares.items()} if shared else {})


def write_snapshot(folder: Path, snapshot: Snapshot, keep: int) -> Path:
    """Write ``folder/step-XXXXXXXX``, point ``folder/last`` at it and drop all but the newest `keep`.

    Raises OSError (or safetensors' own error) where it cannot be written; what was there before stays whole. Where
    processes have shares each calls this, after `make_room`, and the first one does all but the others' shares.
    """
    target = folder / f"step-{snapshot.step:08d}"
    beside = _beside(target)
    if not snapshot.shares:
        make_room(folder, snapshot.step, shares=False)
    try:
        if snapshot.shares:
            save_shares(beside / SHARES, snapshot.shares)
        if not world.leads():
            return target
        for file, tensors in snapshot.tensors.items():
            save_file(dict(tensors), beside / file)
        if snapshot.best is not None:
            link_or_copy(snapshot.best, beside / BEST)
        (beside / STATE).write_text(json.dumps(snapshot.state, indent=1), encoding="utf-8")
        files = {
            str(file.relative_to(beside)): {"bytes": file.stat().st_size, "sha256": _hash(file)}
            for file in sorted(filter(Path.is_file, beside.rglob("*")))
        }
        (beside / MANIFEST).write_text(json.dumps({"format": FORMAT, "files": files}, indent=1), encoding="utf-8")
        for written in (*beside.rglob("*"), beside):
            sync(written)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    _put(beside, target)
    for old in checkpoints(folder)[keep:]:
        shutil.rmtree(old)
    return target


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.partial")


def make_room(folder: Path, step: int, *, shares: bool) -> None:
    """An empty place beside where the checkpoint of `step` is to be."""
    beside = _beside(folder / f"step-{step:08d}")
    shutil.rmtree(beside, ignore_errors=True)
    (beside / SHARES if shares else beside).mkdir(parents=True)


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
        shutil.copytree(target, copy, copy_function=link_or_copy)
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
            file = _inside(path, name)
            if file.stat().st_size != expected["bytes"]:
                raise DamagedError(f"{name} has {file.stat().st_size:,} bytes instead of {expected['bytes']:,}")
            if _hash(file) != expected["sha256"]:
                raise DamagedError(f"{name} does not match its checksum")
    except FileNotFoundError as error:
        raise DamagedError(f"{Path(str(error.filename)).name} is missing") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{MANIFEST} cannot be read ({error})") from None
    shared = any(name.startswith(SHARES) for name in files)
    missing = ({RANDOM, STATE} if shared else {MODEL, OPTIMIZER, RANDOM, STATE}) - set(files)
    if missing:
        raise DamagedError(f"{', '.join(sorted(missing))} is not in its manifest")


def _inside(path: Path, name: str) -> Path:
    """The file of a manifest's name, wherever the name would like to point."""
    return path / SHARES / Path(name).name if name.startswith(f"{SHARES}/") else path / Path(name).name


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


def link_or_copy(source: Path | str, target: Path | str) -> None:
    """`target` as another name of `source`'s bytes, or a copy where the file system has no links."""
    Path(target).unlink(missing_ok=True)
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


def _optimizer_state(loop: Loop, form: Callable[[Tensor], Tensor]) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Moments as ``<parameter>/<moment>`` tensors; scalars that are not tensors as numbers."""
    names = {id(p): name for name, p in loop.model.named_parameters()}
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, float] = {}
    for parameter, state in loop.optimizer.state.items():
        for key, value in state.items():
            place = f"{names[id(parameter)]}/{key}"
            if isinstance(value, Tensor):
                tensors[place] = form(value)
            else:
                numbers[place] = value
    return tensors, numbers


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
