"""A classification as it is learnt from a teacher: what is scored and predicted stays the task's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ftcli.contract import Batch, Example, Learner, Outputs
from ftcli.data.examples import Examples, lengths
from ftcli.distillation.teachers import Answers, SelfTaught, TeacherRows, unlabelled
from ftcli.distillation.terms import Terms
from ftcli.losses.distill import mixed_log_probabilities, soft_targets
from ftcli.models.states import Capture, Real

UNLABELLED = -100
"""Label of a row that has none."""
HOME = "distillation"
"""Name of the part of the student that is there only while it learns: projections, the average of itself."""


class Transfer(Examples):
    """What a student is trained on: examples of several sets one after the other, each knowing its row."""

    def __init__(self, parts: Sequence[Sequence[Example]]) -> None:
        self.parts = parts
        self.ends = np.cumsum([len(part) for part in parts])
        self._lengths = np.concatenate([lengths(part) for part in parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def place(self, row: int) -> tuple[int, int]:
        """The set a row belongs to, and its number there."""
        part = int(np.searchsorted(self.ends, row, side="right"))
        return part, row - (int(self.ends[part - 1]) if part else 0)

    def example(self, row: int) -> Example:
        """The example, its label among it where it has one, and its row."""
        part, at = self.place(row)
        return {**self.parts[part][at], "row": row}

    def lengths(self) -> np.ndarray:
        """(rows,) sizes."""
        return self._lengths


@dataclass
class Seen:
    """What student and teachers made of a batch."""

    logits: Tensor
    states: dict[str, Tensor]
    answers: list[Answers]


class Distilled:
    """`task` learnt from teachers. Labels count where rows have one; states are those of the first teacher.

    `hard` gives the sum of the loss against labels, of logits (rows, classes) and labels (rows,).
    """

    def __init__(
        self,
        task: Learner,
        hard: Callable[[Tensor, Tensor], Tensor],
        terms: Terms,
        student: nn.Module,
        shares: Sequence[float],
        name: str,
        tokens_per_row: int,
    ) -> None:
        self.task, self.hard, self.terms = task, hard, terms
        self.shares, self.tokens_per_row = list(shares), tokens_per_row
        self.teachers: Sequence[TeacherRows] = ()
        """Set once the rows are known; they then answer for these."""
        self.capture = Capture(student, terms.of_student, name)
        self.projections = terms.projections()
        self._step, self._total, self._model = 0, 1, student

    def begin(self, model: nn.Module, total: int) -> None:
        """Training of `total` steps is about to begin, or to go on; then the loop calls what is below at each."""
        self._model, self._total = model, total

    def before_step(self, step: int) -> None:
        """Weights and temperature are those of this step."""
        self._step = step

    def penalty(self) -> None:
        """Nothing beside the terms."""

    def after_step(self, step: int) -> None:
        """The average of the student moves on."""
        for teacher in self.teachers:
            if isinstance(teacher, SelfTaught):
                teacher.follow(self._model, step)

    def collate(self, examples: Sequence[Example]) -> Batch:
        rows = [int(example["row"]) for example in examples]
        batch = self.task.collate([{k: v for k, v in unlabelled(e).items() if k != "row"} for e in examples])
        batch["labels"] = torch.tensor([e.get("label", UNLABELLED) for e in examples], dtype=torch.int64)
        batch["real"] = Real.of(batch, self.tokens_per_row) if self.terms.inside else None
        batch["teachers"] = [teacher.collate(rows) for teacher in self.teachers]
        return batch

    def counts(self, batch: Batch) -> dict[str, int]:
        """Rows, labelled rows, tokens, pairs of them: what each term is divided by."""
        labels = batch["labels"]
        return self.terms.counts(len(labels), int((labels != UNLABELLED).sum()), batch["real"])

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """What the student makes of the batch, and what its teachers do."""
        answers = [
            teacher.answers(given, model, batch)
            for teacher, given in zip(self.teachers, batch["teachers"], strict=True)
        ]
        with self.capture.taking() as taken:
            logits = self.task.forward(model, batch)
        return Seen(logits, self.capture.states(taken, batch["real"]) if self.terms.inside else {}, answers)

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Each term by its weight at this step."""
        terms, found = self.terms, {}
        if "labels" in terms.weights:
            labelled = batch["labels"] != UNLABELLED
            found["labels"] = self.hard(outputs.logits[labelled], batch["labels"][labelled])
        if "soft" in terms.weights:
            temperature = terms.temperature.at(self._step, self._total)
            given = [answer["logits"] for answer in outputs.answers]
            taught = mixed_log_probabilities(given, self.shares, temperature)
            found["soft"] = soft_targets(outputs.logits, taught, temperature, terms.recipe.divergence)
        if terms.inside:
            found |= terms.losses(outputs.states, outputs.answers[0], batch["real"], self.projections)
        return {name: terms.weights[name].at(self._step, self._total) * found[name] for name in terms.weights}


def move_in(student: Any, learner: Any) -> None:
    """Make what the learner learns beside the student a part of it, for the optimiser and for checkpoints."""
    home = nn.Module()
    home.projections = learner.projections
    for i, teacher in enumerate(learner.teachers):
        if isinstance(teacher, SelfTaught):
            home.add_module(f"average_{i}", teacher.home)
    if next(home.parameters(), None) is not None or next(home.buffers(), None) is not None:
        student.add_module(HOME, home)


def move_out(student: Any) -> None:
    """The student as it is saved, without what only its learning needed."""
    if hasattr(student, HOME):
        delattr(student, HOME)
