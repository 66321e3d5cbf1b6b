"""What a training run writes down as it goes: one record per logged step and per validation."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ftcli.contract import Evaluation, Progress, Tracker
from ftcli.runs.best import Best
from ftcli.trackers import TRACKERS


class Trackers:
    """Several trackers as one."""

    def __init__(self, members: Sequence[Tracker]) -> None:
        self.members = members

    def log(self, record: Mapping[str, Any]) -> None:
        for member in self.members:
            member.log(record)

    def flush(self) -> None:
        for member in self.members:
            member.flush()

    def truncate_after(self, step: int) -> None:
        """Forget what was logged after `step`: a resumed run writes it again."""
        for member in self.members:
            member.truncate_after(step)

    def close(self) -> None:
        for member in self.members:
            member.close()


@contextmanager
def open_trackers(names: str, folder: Path) -> Iterator[Trackers]:
    """The trackers of ``log.trackers``, closed at the end."""
    trackers = Trackers([TRACKERS.part(name.strip())(folder) for name in names.split(",") if name.strip()])
    try:
        yield trackers
    finally:
        trackers.close()


class Journal:
    """Averages the loss between logged steps on the device, so that the host waits for it only when it is written."""

    def __init__(self, tracker: Tracker, device: torch.device, every: int) -> None:
        self.tracker = tracker
        self.every = every
        self._loss = torch.zeros((), device=device)
        self._steps = self._rows = self._tokens = self._computed = 0
        self._began = time.perf_counter()
        self._last_loss: float | None = None

    def start(self) -> None:
        """The next step begins now: what came before it is no part of the training rate."""
        self._began = time.perf_counter()

    def step(self, progress: Progress) -> dict[str, Any] | None:
        """Take in a step; the record where one is due, for `write` once the step is known to be sound."""
        if not progress.skipped:
            self._loss += progress.loss
            self._steps += 1
            self._rows += progress.rows
            self._tokens += progress.tokens
            self._computed += progress.computed
        if progress.step % self.every and progress.step != progress.total_steps and not progress.epoch_ended:
            return None
        if not self._steps:
            return None
        loss = float(self._loss) / self._steps
        seconds = max(time.perf_counter() - self._began, 1e-9)
        record = {
            "step": progress.step,
            "epoch": round(progress.epoch, 6),
            "split": "train",
            "loss": loss,
            "lr": progress.lr,
            "rows_per_s": self._rows / seconds,
            "tokens_per_s": self._tokens / seconds,
            "padding_share": 1 - self._tokens / self._computed if self._computed else 0.0,
        }
        self._last_loss = loss
        self._loss.zero_()
        self._steps = self._rows = self._tokens = self._computed = 0
        self._began = time.perf_counter()
        return record

    def write(self, record: Mapping[str, Any]) -> None:
        """Write a record of `step`."""
        self.tracker.log(record)

    def validation(self, step: int, epoch: float, evaluation: Evaluation) -> None:
        """Write a validation; the time it took does not count against the training rate."""
        self._write(step, round(epoch, 6), "validation", evaluation)
        self.start()

    def final(self, split: str, evaluation: Evaluation, *, step: int, epoch: float) -> None:
        """Write the closing score, with the step and epoch of the state that was scored."""
        self._write(step, round(epoch, 6), split, evaluation, final=True)
        self.tracker.flush()

    def _write(self, step: int, epoch: float, split: str, evaluation: Evaluation, **more: Any) -> None:
        self.tracker.log({"step": step, "epoch": epoch, "split": split, **more, **evaluation.metrics})

    def shown(self, best: Best) -> dict[str, Any]:
        """What stands beside the progress bar."""
        shown: dict[str, Any] = {} if self._last_loss is None else {"loss": f"{self._last_loss:.4f}"}
        if best.value is not None:
            shown[f"best {best.metric}"] = f"{best.value:.4f}"
        return shown

    def state(self) -> dict[str, Any]:
        """Plain data for a checkpoint: the averages under way."""
        return {
            "loss": float(self._loss),
            "steps": self._steps,
            "rows": self._rows,
            "tokens": self._tokens,
            "computed": self._computed,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._loss.fill_(state["loss"])
        self._steps, self._rows, self._tokens = (int(state[k]) for k in ("steps", "rows", "tokens"))
        self._computed = int(state.get("computed", 0))
