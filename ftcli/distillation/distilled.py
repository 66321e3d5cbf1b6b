"""A task as it is learnt from a teacher: what is scored and predicted stays the task's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ftcli.contract import Batch, Example, Learner, Outputs
from ftcli.data.examples import Examples, lengths
from ftcli.distillable import SoftForm, targets_of, told
from ftcli.distillation.soft import apart
from ftcli.distillation.teachers import Answers, SelfTaught, TeacherRows
from ftcli.distillation.terms import Terms
from ftcli.models.layout import moved
from ftcli.models.states import Capture, Real

HOME = "distillation"
"""Name of the part of the student that is there only while it learns: projections, the average of itself."""
_ROW, _ANSWERED = "row", "answered"


class Transfer(Examples):
    """What a student is trained on: examples of several sets one after the other, each knowing its row.

    All have answers, or those of the first set have them in `answered` and none in `parts`.
    """

    def __init__(self, parts: Sequence[Sequence[Example]], answered: Sequence[Example] | None = None) -> None:
        self.parts, self.answered = parts, answered
        self.ends = np.cumsum([len(part) for part in parts])
        self._lengths = np.concatenate([lengths(part) for part in parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def place(self, row: int) -> tuple[int, int]:
        """The set a row belongs to, and its number there."""
        part = int(np.searchsorted(self.ends, row, side="right"))
        return part, row - (int(self.ends[part - 1]) if part else 0)

    def example(self, row: int) -> Example:
        """The example, its row, and itself with its answer where that is apart (None where it has none)."""
        part, at = self.place(row)
        found = {**self.parts[part][at], _ROW: row}
        if self.answered is None:
            return found
        return {**found, _ANSWERED: self.answered[at] if part == 0 else None}

    def lengths(self) -> np.ndarray:
        """(rows,) sizes."""
        return self._lengths


@dataclass
class Seen:
    """What student and teachers made of a batch."""

    outputs: Outputs
    logits: Tensor
    """Soft answers: (targets, choices)."""
    states: dict[str, Tensor]
    answers: list[Answers]


class Distilled:
    """`task`, which is `distillable.Distillable`, learnt from teachers. States are those of the first teacher.

    `hard` gives the sum of the loss against answers, of outputs and a batch that has them.
    """

    def __init__(
        self,
        task: Learner,
        form: SoftForm,
        hard: Callable[[Outputs, Batch], Tensor],
        terms: Terms,
        student: nn.Module,
        shares: Sequence[float],
        name: str,
        tokens_per_row: int,
    ) -> None:
        self.task, self.form, self.hard, self.terms = task, form, hard, terms
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
        own = [{k: v for k, v in example.items() if k not in (_ROW, _ANSWERED)} for example in examples]
        batch = self.task.collate(own)
        batch["targets_per_row"] = targets_of(self.task, batch, len(examples))
        batch["real"] = Real.of(batch, self.tokens_per_row) if self.terms.inside else None
        batch["teachers"] = [teacher.collate([int(example[_ROW]) for example in examples]) for teacher in self.teachers]
        if _ANSWERED in examples[0]:
            has = np.array([example[_ANSWERED] is not None for example in examples])
            batch["answers"] = (
                self.task.collate([e[_ANSWERED] for e in examples if e[_ANSWERED]]) if has.any() else None
            )
            batch["has_answer"] = torch.from_numpy(np.flatnonzero(np.repeat(has, batch["targets_per_row"])))
        return batch

    def counts(self, batch: Batch) -> dict[str, int]:
        """Targets, answers, tokens, pairs of them: what each term is divided by."""
        with_answers = batch.get("answers", batch)
        answers = 0 if with_answers is None else self.task.counts(with_answers)["loss"]
        return self.terms.counts(sum(batch["targets_per_row"]), answers, batch["real"])

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """What the student makes of the batch, and what its teachers do."""
        answers = [
            teacher.answers(given, model, batch)
            for teacher, given in zip(self.teachers, batch["teachers"], strict=True)
        ]
        with self.capture.taking() as taken:
            outputs = told(self.task, model, batch)
        states = self.capture.states(taken, batch["real"]) if self.terms.inside else {}
        task: Any = self.task
        return Seen(outputs, task.soft(outputs, batch), states, answers)

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Each term by its weight at this step."""
        terms, found = self.terms, {}
        if "labels" in terms.weights:
            found["labels"] = self._hard(outputs, batch)
        if "soft" in terms.weights:
            temperature = terms.temperature.at(self._step, self._total)
            given = [answer["logits"] for answer in outputs.answers]
            found["soft"] = apart(self.form, outputs.logits, given, self.shares, temperature, terms.recipe.divergence)
        if terms.inside:
            found |= terms.losses(outputs.states, outputs.answers[0], batch["real"], self.projections)
        return {name: terms.weights[name].at(self._step, self._total) * found[name] for name in terms.weights}

    def _hard(self, outputs: Seen, batch: Batch) -> Tensor:
        """The loss against answers, of all rows or of those that have one."""
        if "answers" not in batch:
            return self.hard(outputs.outputs, batch)
        if batch["answers"] is None:
            return outputs.logits.new_zeros(())
        task: Any = self.task
        device = outputs.logits.device
        answered = {k: moved(v, device) if isinstance(v, Tensor) else v for k, v in batch["answers"].items()}
        own = outputs.logits.index_select(0, moved(batch["has_answer"], device))
        return self.hard(task.outputs_of(own, answered), answered)


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
