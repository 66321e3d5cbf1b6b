"""The best state so far, by a validation metric: kept apart from checkpoints until the run ends."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from ftcli.engine import world
from ftcli.engine.checkpoint import BEST, link_or_copy, trained_tensors
from ftcli.errors import DivergedError
from ftcli.metrics.gates import lower_is_better
from ftcli.models.whole import load_into


class Best:
    """Offer it each validation; it keeps the weights of the best one and counts those without progress."""

    def __init__(self, metric: str, folder: Path, patience: int | None) -> None:
        self.metric = metric
        self.folder = folder / "best"
        self.patience = patience
        self.value: float | None = None
        """Of the metric; None before the first validation, and where it had no value (a NaN) in any so far."""
        self.kept = False
        """True once there are weights."""
        self.step = 0
        self.epoch = 0.0
        self.stale = 0
        self.validated = 0
        """Step of the last validation."""

    @property
    def exhausted(self) -> bool:
        """True when early stopping asks to end."""
        return self.patience is not None and self.stale >= self.patience

    @property
    def file(self) -> Path | None:
        """The best weights so far. A file is never changed once it is there, so that a checkpoint can share it."""
        return self.folder / f"step-{self.step:08d}.safetensors" if self.kept else None

    def offer(self, metrics: Mapping[str, float], step: int, epoch: float, model: nn.Module) -> bool:
        """Keep `model` if its metric beats the best so far (ties keep the earlier one)."""
        value = metrics[self.metric]
        if not math.isfinite(value) and self.metric == "loss":
            raise DivergedError("the validation loss is not a number", hint="a smaller --lr")
        self.validated = step
        known = value if math.isfinite(value) else None
        if self.kept and not self._better(known):
            self.stale += 1
            return False
        self.value, self.step, self.epoch, self.stale, self.kept = known, step, epoch, 0, True
        tensors = trained_tensors(model)
        if world.leads():
            self.folder.mkdir(parents=True, exist_ok=True)
            beside = self.folder / ".model.partial"
            save_file(tensors, beside)
            beside.replace(self._kept())
        return True

    def _better(self, value: float | None) -> bool:
        if value is None or self.value is None:
            return value is not None
        return value < self.value if lower_is_better(self.metric) else value > self.value

    def _kept(self) -> Path:
        assert self.file is not None, "something was validated"
        return self.file

    def load_into(self, model: nn.Module) -> None:
        """Put the best weights back into `model`."""
        world.wait()
        load_into(model, load_file(self._kept()))
        world.wait()

    def prune(self) -> None:
        """Drop weights that were the best once."""
        if not world.leads():
            return
        for file in self.folder.glob("*"):
            if file != self.file:
                file.unlink()

    def discard(self) -> None:
        """Drop the kept weights once the model itself is written."""
        if world.leads():
            shutil.rmtree(self.folder, ignore_errors=True)

    def state(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return {name: getattr(self, name) for name in _STATE}

    def restore(self, state: Mapping[str, Any], checkpoint: Path) -> None:
        """Go on from `state`, with the best weights that the checkpoint holds."""
        for name in _STATE:
            setattr(self, name, state[name])
        if self.kept and world.leads():
            self.folder.mkdir(parents=True, exist_ok=True)
            link_or_copy(checkpoint / BEST, self._kept())
        self.prune()


_STATE = ("value", "kept", "step", "epoch", "stale", "validated")
