"""What can go wrong below a run, in the words of the contract."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ftcli.engine.disk import free_bytes, training_bytes
from ftcli.engine.forward import compiler_failed
from ftcli.engine.interrupt import Leave, StopRequest
from ftcli.errors import FtcliError, Interrupted, OutOfMemoryError, Stopped, UsageError, system_error
from ftcli.recipe.schema import TrainRecipe
from ftcli.runs.folder import cannot_write
from ftcli.runs.parts import Parts


@contextmanager
def translated(recipe: TrainRecipe, place: Path) -> Iterator[None]:
    """Turns a device out of memory and a `place` that cannot be written into errors a user can act on."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        if recipe.tokens_per_batch is not None:
            raise OutOfMemoryError(
                f"out of memory on {recipe.device} with {recipe.tokens_per_batch:,} tokens a batch",
                hint=f"--set train.tokens_per_batch={max(1, recipe.tokens_per_batch // 2)} "
                f"--set train.gradient_accumulation={2 * recipe.gradient_accumulation}",
            ) from error
        rows = recipe.rows_per_pass
        less = max(1, rows // 2)
        raise OutOfMemoryError(
            f"out of memory on {recipe.device} with {rows} rows a batch",
            hint=f"--batch-size {less} --set train.gradient_accumulation={recipe.rows_per_step // less} gives the same "
            f"result in less memory",
        ) from error
    except Exception as error:
        if recipe.compile is True and compiler_failed(error):
            raise UsageError(
                f"torch.compile does not work here: {' '.join(str(error).split())[:200]}",
                hint="--set train.compile=false, or install a C++ compiler (on a GPU: Triton too)",
            ) from error
        failure = system_error(error)
        if failure is None:
            raise
        raise cannot_write(place, failure) from error


@contextmanager
def stoppable(stop: StopRequest, place: Path) -> Iterator[None]:
    """Turns a request to stop, met outside training itself, into the end of the run; what was saved stays."""
    try:
        yield
    except Leave:
        raise stop_error(stop)(
            "stopped on request; what was trained is saved",
            hint=f"go on with the same command and --resume --out {place}",
        ) from None


@contextmanager
def naming(what: str, place: Path | None = None, whole: Path | None = None) -> Iterator[None]:
    """Errors begin with `what` part of a larger run they are of; their hints name its folder, which is what goes on."""
    try:
        yield
    except FtcliError as error:
        hint = error.hint
        if hint is not None and place is not None:
            hint = hint.replace(str(place), str(whole))
        raise type(error)(f"{what}: {error.message}", hint=hint) from error


def stop_error(stop: StopRequest) -> type[Stopped] | type[Interrupted]:
    """The error for how a run was asked to stop."""
    return Interrupted if stop.signal == signal.SIGINT else Stopped


def check_room(parts: Parts, place: Path) -> None:
    """UsageError where the disk cannot take the checkpoints and the model of the run."""
    keep = parts.recipe.checkpoint.keep
    own = sum(file.stat().st_size for file in (place / "checkpoints").rglob("*.safetensors"))
    there = next((folder for folder in (place.absolute(), *place.absolute().parents) if folder.exists()), place)
    needed, free = training_bytes(parts.model, keep, parts.regularizers.bytes_kept) - own, free_bytes(there)
    if needed > free:
        raise UsageError(
            f"'{place}' has {free / 2**20:,.0f} MiB left; "
            f"{keep} checkpoints and the model take {needed / 2**20:,.0f} MiB",
            hint="free some space, choose another --out, or --set checkpoint.keep=1",
        )
