"""A language model as it learns from another while it is pretrained: the same tokens told, or the same next ones.

Sanh et al. 2019, "DistilBERT" (arXiv:1910.01108): the teacher's probabilities, the true tokens and the direction of the
last hidden states, on unlabelled text.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from ftcli.contract import Batch, Example, Learner, Outputs
from ftcli.distillation.distilled import Seen
from ftcli.distillation.terms import Terms
from ftcli.losses.distill import mixed_log_probabilities, soft_targets
from ftcli.losses.supervised import cross_entropy
from ftcli.models.heads import at_places
from ftcli.models.states import Capture, Real
from ftcli.models.unpadded import known_rows

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class General:
    """An objective over tokens (mlm, clm) learnt from teachers that read the same batches.

    What is hidden of a text is drawn anew each time it is seen, so that there is nothing to keep for another run.
    """

    def __init__(
        self,
        task: Learner,
        terms: Terms,
        student: nn.Module,
        teachers: Sequence[nn.Module],
        shares: Sequence[float],
        names: tuple[str, str],
        autocast: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.task, self.terms, self.teachers, self.shares = task, terms, list(teachers), list(shares)
        self.capture = Capture(student, terms.of_student, names[0])
        self.of_teacher = Capture(self.teachers[0], terms.of_teacher, names[1])
        self.projections, self.autocast = terms.projections(), autocast
        self._step, self._total = 0, 1

    def begin(self, model: nn.Module, total: int) -> None:
        """Training of `total` steps is about to begin, or to go on."""
        self._total = total

    def before_step(self, step: int) -> None:
        """Weights and temperature are those of this step."""
        self._step = step

    def penalty(self) -> None:
        """Nothing beside the terms."""

    def after_step(self, step: int) -> None:
        """Nothing follows a step."""

    def collate(self, examples: Sequence[Example]) -> Batch:
        batch = self.task.collate(examples)
        batch["real"] = Real.of(batch, 1)
        return batch

    def counts(self, batch: Batch) -> dict[str, int]:
        """Targets, tokens, texts, pairs of them: what each term is divided by."""
        targets = len(batch["labels"])
        return self.terms.counts(targets, targets, batch["real"])

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """Logits (targets, vocabulary) and states of the student and of its teachers."""
        real = batch["real"]
        answers = []
        with torch.inference_mode(), self.autocast(), self.of_teacher.taking() as taken:
            for number, teacher in enumerate(self.teachers):
                teacher.eval()
                answers.append({"logits": token_logits(teacher, batch)})
                if number == 0:
                    answers[0] |= self.of_teacher.states(taken, real)
        answers = [{name: x.clone().float() for name, x in one.items()} for one in answers]
        with self.capture.taking() as own:
            logits = token_logits(model, batch)
        return Seen(logits, logits, self.capture.states(own, real), answers)

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Each term by its weight at this step."""
        terms, found = self.terms, {}
        if "labels" in terms.weights:
            found["labels"] = cross_entropy(outputs.logits, batch["labels"])
        if "soft" in terms.weights:
            temperature = terms.temperature.at(self._step, self._total)
            taught = mixed_log_probabilities([one["logits"] for one in outputs.answers], self.shares, temperature)
            found["soft"] = soft_targets(outputs.logits, taught, temperature, terms.recipe.divergence)
        if terms.inside:
            found |= terms.losses(outputs.states, outputs.answers[0], batch["real"], self.projections)
        return {name: terms.weights[name].at(self._step, self._total) * found[name] for name in terms.weights}


def token_logits(model: Any, batch: Batch) -> Tensor:
    """(targets, vocabulary) of a model that computes its head for the batch's places alone."""
    taken = inspect.signature(model.forward).parameters
    given = {name: batch[name] for name in _INPUTS if name in taken and name in batch}
    with known_rows(batch["rows"]), at_places(batch["places"]):
        found: Tensor = model(**given).logits[0]
    return found
