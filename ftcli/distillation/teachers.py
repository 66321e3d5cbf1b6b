"""Where the teacher's answers to a batch come from: asked as it goes, read from disk, or an average of the student."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ftcli.contract import Batch, Example, Learner
from ftcli.distillable import told
from ftcli.distillation.soft import stacked
from ftcli.models.states import Capture, Real

Answers = dict[str, Tensor]
"""``logits``: soft answers (targets, choices) in the student's order of labels; and states as `models.states` names
them."""
_LARGEST = 6e4
"""Beyond it half precision has no numbers."""


class TeacherRows(Protocol):
    """A teacher before the rows of a run."""

    def collate(self, rows: Sequence[int]) -> Any:
        """What `answers` needs for these rows, on the host."""

    def answers(self, given: Any, model: nn.Module, batch: Batch) -> Answers:
        """The answers on the device of `batch`; `model` is the student."""


def stored(name: str, x: Tensor) -> Tensor:
    """A state as the cache keeps it: of tokens in half precision where their numbers fit, of rows as they are."""
    if name == "logits" or name.startswith("first.") or not x.numel() or not float(x.abs().max()) < _LARGEST:
        return x.to(torch.float32)
    return x.to(torch.float16)


@dataclass
class Asked:
    """A teacher that can be asked: its own task, its own arithmetic, no gradients."""

    task: Learner
    model: nn.Module
    capture: Capture
    autocast: Callable[[], AbstractContextManager[None]]
    order: list[int] | None
    """The place among the teacher's labels of each of the student's; None where they are the same."""
    tokens_per_row: int
    device: torch.device

    def __call__(self, batch: Batch) -> Answers:
        """Answers to one of the teacher's own batches, on the host."""
        real = Real.of(batch, self.tokens_per_row) if self.capture.wanted else None
        batch = {k: v.to(self.device) if isinstance(v, Tensor) else v for k, v in batch.items()}
        self.model.eval()
        with torch.inference_mode(), self.autocast(), self.capture.taking() as taken:
            task: Any = self.task
            found = {"logits": task.soft(told(task, self.model, batch), batch)}
            if real is not None:
                found |= self.capture.states(taken, real)
        if self.order is not None:
            found["logits"] = found["logits"][:, self.order]
        return {name: stored(name, x) for name, x in found.items()}


class Live:
    """Asked anew for every batch."""

    def __init__(self, asked: Asked, examples: Sequence[Example], rows_per_pass: int | None) -> None:
        self.asked, self.examples, self.rows_per_pass = asked, examples, rows_per_pass

    def collate(self, rows: Sequence[int]) -> list[Batch]:
        size = self.rows_per_pass or len(rows)
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]
        return [self.asked.task.collate([self.examples[row] for row in part]) for part in parts]

    def answers(self, given: Any, model: nn.Module, batch: Batch) -> Answers:
        each = [self.asked(part) for part in given]
        # Out of inference mode: what a loss keeps for its gradient has to be an ordinary tensor.
        return {name: _joined(name, [one[name] for one in each]).clone().float() for name in each[0]}


class Cached:
    """Read from disk, by row."""

    def __init__(self, read: Callable[[Sequence[int]], Mapping[str, Tensor]], device: torch.device) -> None:
        self.read, self.device = read, device

    def collate(self, rows: Sequence[int]) -> Mapping[str, Tensor]:
        return self.read(rows)

    def answers(self, given: Any, model: nn.Module, batch: Batch) -> Answers:
        return {name: x.to(self.device).float() for name, x in given.items()}


class SelfTaught:
    """The student's own moving average: Tarvainen & Valpola 2017, "Mean teachers" (arXiv:1703.01780).

    The average lies in `home`, a part of the student while it is trained, so that checkpoints hold it.
    """

    def __init__(self, task: Any, student: nn.Module, decay: float) -> None:
        self.task, self.decay = task, decay
        self.home = nn.Module()
        self.names = {f"p{i}": name for i, (name, _) in enumerate(student.named_parameters())}
        parameters = dict(student.named_parameters())
        for place, name in self.names.items():
            self.home.register_buffer(place, parameters[name].detach().clone())

    @torch.no_grad()
    def follow(self, student: nn.Module, step: int) -> None:
        """Take in the weights as they are after step `step` (from 0)."""
        keep = min(self.decay, (1 + step) / (10 + step))
        parameters = dict(student.named_parameters())
        for place, name in self.names.items():
            self.home.get_buffer(place).lerp_(parameters[name], 1 - keep)

    def collate(self, rows: Sequence[int]) -> None:
        return None

    def answers(self, given: Any, model: nn.Module, batch: Batch) -> Answers:
        averaged = {name: self.home.get_buffer(place) for place, name in self.names.items()}

        def run(*values: Any, **named: Any) -> Any:
            return torch.func.functional_call(model, averaged, values, named)

        training, task = model.training, self.task
        model.eval()
        with torch.no_grad():
            logits = task.soft(told(task, run, batch), batch)
        model.train(training)
        return {"logits": logits.float()}


def _joined(name: str, parts: Sequence[Tensor]) -> Tensor:
    return stacked(parts) if name == "logits" else torch.cat(list(parts))
