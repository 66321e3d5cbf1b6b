"""A task as it is trained under `regularize.*`: what is scored and predicted stays the task's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ftcli.contract import Batch, Example, Learner, Outputs
from ftcli.engine.precision import Precision
from ftcli.engine.regularizers.base import Regularizer, Sums, one_hot
from ftcli.engine.regularizers.embeddings import Edit, Embeddings, Shift, Spans
from ftcli.engine.regularizers.stack import Stack
from ftcli.engine.seeding import restore_torch_state, torch_state
from ftcli.losses.regularize import regularized_cross_entropy
from ftcli.recipe.regularize import RegularizeRecipe


class Regularized:
    """`task` with what the regularisers of `stack` make of batches, passes and losses."""

    def __init__(
        self,
        task: Learner,
        stack: Stack,
        recipe: RegularizeRecipe,
        embeddings: Embeddings | None = None,
        classes: int = 0,
        weights: Tensor | None = None,
    ) -> None:
        self.task, self.recipe, self.weights, self.embeddings, self.classes = task, recipe, weights, embeddings, classes
        self.parts: Sequence[Regularizer] = tuple(stack.parts.values())
        self.times = max((part.passes_per_batch for part in self.parts), default=1)
        """Passes under different dropout whose outputs are looked at together."""
        self.attack: Regularizer = next((p for p in self.parts if type(p).passes is not Regularizer.passes), _PLAIN)
        """The one that says how often a batch goes through the model; two are refused."""
        self._own_loss = any(part.scope == "classification" for part in self.parts)

    def collate(self, examples: Sequence[Example]) -> Batch:
        return self.task.collate(examples)

    def counts(self, batch: Batch) -> dict[str, int]:
        """The task's, and rows for each further term."""
        found = self.task.counts(batch)
        for part in self.parts:
            found |= part.counts(len(batch["labels"])) if self._own_loss else {}
        return found

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """Outputs of the passes whose outputs are looked at together: one, or two."""
        return Pass(self, model, batch).outputs()

    def losses(self, outputs: Outputs, batch: Batch) -> Sums:
        """The mean of the passes' losses, and further terms."""
        if not self._own_loss:
            return self.task.losses(outputs[0], batch)
        recipe = self.recipe
        settings: dict[str, Any] = {
            "smoothing": recipe.label_smoothing,
            "focal": recipe.focal,
            "weights": None if self.weights is None else self.weights.to(batch["labels"].device),
        }
        targets = one_hot(batch, self.classes) if "targets" in batch else batch["labels"]
        sums = [regularized_cross_entropy(logits, targets, **settings) for logits in outputs]
        found = {"loss": sum(sums[1:], sums[0]) / len(sums)}
        for part in self.parts:
            found |= part.terms(outputs)
        return found

    def passes(self, model: nn.Module, batch: Batch) -> Iterator[Sums]:
        """Loss sums of a batch, set by set; whoever takes one goes backward before asking for the next."""
        for part in self.parts:
            batch = part.mix(batch, self.classes)
        one = Pass(self, model, batch)
        yield from self.attack.passes(one)
        one.end()


class Pass:
    """One batch, ready to go through the model as often as an attack asks for, each time under the same dropout."""

    def __init__(self, learner: Regularized, model: nn.Module, batch: Batch) -> None:
        self._learner, self._model, self._batch = learner, model, batch
        self._device = next(model.parameters()).device
        found = [part.edit(batch) for part in learner.parts]
        self._edits: list[Edit] = [edit for edit in found if edit is not None]
        self._spans: Spans | None = None
        self._before: dict[str, Tensor] | None = None
        self._after: dict[str, Tensor] | None = None

    def outputs(self, shift: Shift | None = None, times: int | None = None) -> list[Outputs]:
        """Outputs, with the embedded tokens moved by `shift`; by default of all passes looked at together."""
        learner, batch = self._learner, self._batch
        if self._before is None:
            self._before = torch_state(self._device)
        else:
            restore_torch_state(self._before, self._device)
        found = []
        for _ in range(learner.times if times is None else times):
            output = self._output([*self._edits, shift] if shift is not None else self._edits)
            for part in learner.parts:
                output = part.outputs(output, batch)
            found.append(output)
        if self._after is None:
            self._after = torch_state(self._device)
        return found

    def _output(self, edits: Sequence[Edit]) -> Outputs:
        learner, batch = self._learner, self._batch
        if not edits:
            return learner.task.forward(self._model, batch)
        assert learner.embeddings is not None
        if self._spans is None:
            self._spans = Spans.of(batch, self._device)
        with learner.embeddings.edited(edits, self._spans):
            return learner.task.forward(self._model, batch)

    def of(self, outputs: list[Outputs]) -> Sums:
        """Loss sums of outputs."""
        return self._learner.losses(outputs, self._batch)

    def losses(self, shift: Shift | None = None) -> Sums:
        """Loss sums, with the embedded tokens moved by `shift`."""
        return self.of(self.outputs(shift))

    def generator(self) -> torch.Generator:
        """Random numbers of an attack's own, so that those of dropout are the same with them or without."""
        return torch.Generator(self._device).manual_seed(int(torch.randint(2**62, ())))

    def end(self) -> None:
        """What comes next draws other random numbers than any of the passes did."""
        if self._after is not None:
            restore_torch_state(self._after, self._device)


_PLAIN = Regularizer(RegularizeRecipe())


def passes(task: Learner, model: nn.Module, batch: Batch, precision: Precision) -> Iterator[Sums]:
    """Loss sums of a batch on the device, computed in `precision`: once, or as often as `task` puts it through `model`.

    Whoever takes them goes backward before asking for the next.
    """
    if not isinstance(task, Regularized):
        with precision.autocast():
            sums = task.losses(task.forward(model, batch), batch)
        yield sums
        return
    found = task.passes(model, batch)
    while True:
        with precision.autocast():
            one = next(found, None)
        if one is None:
            return
        yield one
