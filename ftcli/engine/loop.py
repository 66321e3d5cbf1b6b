"""The one training loop: a generator that yields after every optimiser step; the rest of a run consumes it."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ftcli.contract import Batch, Example, Learner, Progress
from ftcli.engine.ahead import Ahead, parts
from ftcli.engine.device import count_tokens, is_out_of_memory, to_device, too_large
from ftcli.engine.hooks import Hook
from ftcli.engine.optim import clip_gradients
from ftcli.engine.precision import Precision
from ftcli.engine.ranks import ALONE, Ranks
from ftcli.engine.regularized import passes
from ftcli.engine.seeding import restore_torch_state, torch_state
from ftcli.models.row_random import by_row, mixed
from ftcli.models.unpadded import computed_tokens
from ftcli.recipe.schema import TrainRecipe


class StepPlan(Protocol):
    """Where the loop learns which rows make which step."""

    def plan(self, epoch: int) -> list[np.ndarray]: ...


class Loop:
    """Training state and how to advance it by one optimiser step.

    The state is `step`, `epoch` and `position` (steps done inside the epoch), the steps to skip, the rows per forward
    pass that fit into memory, the model's and the optimiser's tensors and the random state; a checkpoint holds all.
    A consumer may load a checkpoint between two steps: the loop goes on from there.
    """

    def __init__(
        self,
        task: Learner,
        model: nn.Module,
        examples: Sequence[Example],
        sampler: StepPlan,
        optimizer: torch.optim.Optimizer,
        schedule: Callable[[int], float],
        precision: Precision,
        recipe: TrainRecipe,
        total_steps: int,
        augment: Callable[[Batch], Batch] | None = None,
        draw: Callable[[Example, int, int], Example] | None = None,
        hooks: Sequence[Hook] = (),
        ranks: Ranks = ALONE,
        seed: int = 0,
    ) -> None:
        self.task, self.model, self.examples, self.sampler = task, model, examples, sampler
        self.optimizer, self.schedule, self.precision, self.recipe = optimizer, schedule, precision, recipe
        self.total_steps, self.augment = total_steps, augment
        self.draw = draw
        """What is made of an example in an epoch, given the epoch and the row; None takes it as it is."""
        self.hooks, self.ranks, self.seed = hooks, ranks, seed
        self.step = self.epoch = self.position = 0
        self.skip: set[tuple[int, int]] = set()
        """(epoch, position) of steps whose rows are passed over."""
        self.rows_seen = 0
        """A checksum over the rows of all steps so far, in order."""
        self.micro_batch = recipe.rows_per_pass
        """Rows per forward pass: as asked for, or less once the device ran out of memory."""
        self.norm = torch.zeros((), device=precision.device)
        """The gradient's norm before clipping at the last step; where nothing is clipped it stays 0."""
        self._ahead = Ahead(self._collate, precision.device, pin=augment is None)
        self._peaks = [float(group["lr"]) for group in optimizer.param_groups]

    def __iter__(self) -> Iterator[Progress]:
        planned, plan = -1, self.sampler.plan(self.epoch)
        while self.step < self.total_steps:
            if planned != self.epoch:
                planned, plan = self.epoch, self.sampler.plan(self.epoch)
            yield self._advance(plan)

    def rows_at(self, epoch: int, position: int) -> list[int]:
        """The rows of a step."""
        return [int(row) for row in self.sampler.plan(epoch)[position]]

    def _advance(self, plan: list[np.ndarray]) -> Progress:
        """One optimiser step over the next rows of the epoch's `plan`, `micro_batch` of them per forward pass."""
        self.model.train()
        at = (self.epoch, self.position)
        rows, steps_in_epoch = plan[self.position], len(plan)
        lr = self._set_lr()
        skipped = at in self.skip
        if skipped:
            loss, tokens, computed = torch.zeros((), device=self.precision.device), 0, 0
        else:
            for hook in self.hooks:
                hook.before_step(self.step)
            loss, tokens, computed = self._forward_backward(rows, self._next_rows(plan))
            self._update()
        self.rows_seen = zlib.crc32(np.asarray(rows, dtype=np.int64).tobytes(), self.rows_seen)
        self.step += 1
        self.position += 1
        ended = self.position == steps_in_epoch
        epoch = self.epoch + self.position / steps_in_epoch
        if ended:
            self.epoch, self.position = self.epoch + 1, 0
        return Progress(self.step, self.total_steps, epoch, lr, loss, len(rows), tokens, ended, at, skipped, computed)

    def _next_rows(self, plan: list[np.ndarray]) -> np.ndarray | None:
        """The rows of the step after this one, where they can be made ready meanwhile."""
        later = self.position + 1
        known = later < len(plan) and self.step + 1 < self.total_steps and (self.epoch, later) not in self.skip
        return plan[later] if known else None

    def _forward_backward(self, rows: np.ndarray, following: np.ndarray | None) -> tuple[Tensor, int, int]:
        """Loss, tokens and computed tokens of a window, its gradients left in the model.

        Half the rows per pass where memory is out: sums over counts make the gradients the same whatever the rows per
        pass. Raises OutOfMemoryError at one row, and where other processes would go on with as many as before.
        """
        while True:
            own = self.ranks.own(rows)
            size = self._portion(rows)
            before = torch_state(self.precision.device)
            batches, portions = self._ahead.take(own, size), list(parts(own, size))
            if self.augment is not None:
                for i, portion in enumerate(portions):
                    with self._random(portion):
                        batches[i] = self.augment(batches[i])
            if following is not None:
                self._ahead.start(self.ranks.own(following), self._portion(following))
            try:
                return self._accumulate(batches, portions, self.ranks.weights(rows, size))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if size == 1 or self.ranks.size > 1:
                    raise too_large(self.precision.device, *batches) from None
            del batches
            self.optimizer.zero_grad(set_to_none=True)
            if self.precision.device.type == "cuda":
                torch.cuda.empty_cache()
            restore_torch_state(before, self.precision.device)
            self.micro_batch = max(1, min(size, len(rows)) // 2)

    def _portion(self, rows: np.ndarray) -> int:
        """Rows of a step per forward pass, the same for all processes."""
        if self.recipe.tokens_per_batch is None:
            return self.micro_batch
        return min(self.micro_batch, -(-len(rows) // (self.ranks.size * self.recipe.gradient_accumulation)))

    def _collate(self, rows: np.ndarray) -> Batch:
        examples = [self.examples[int(row)] for row in rows]
        if self.draw is not None:
            examples = [self.draw(one, self.epoch, int(row)) for one, row in zip(examples, rows, strict=True)]
        return self.task.collate(examples)

    def _random(self, rows: np.ndarray) -> AbstractContextManager[None]:
        """Random numbers inside, on a CPU, depend on the step and on each row, not on the rows beside it."""
        if self.precision.device.type != "cpu":
            return nullcontext()
        return by_row(rows.tolist(), mixed(self.seed, self.epoch, self.position))

    def _accumulate(
        self, batches: list[Batch], portions: list[np.ndarray], weights: list[int]
    ) -> tuple[Tensor, int, int]:
        """Gradients of the whole window: loss sums over the window's counts, known before any forward pass.

        A batch of weight 0 counts for nothing; as many as there are more weights than batches are the last one again.
        """
        counts: dict[str, int] = {}
        more = len(weights) - len(batches)
        batches, portions = [*batches, *batches[-1:] * more], [*portions, *portions[-1:] * more]
        for batch, weight in zip(batches, weights, strict=True):
            for term, count in self.task.counts(batch).items():
                counts[term] = counts.get(term, 0) + weight * count
        counts = self.ranks.counts(counts)
        total = torch.zeros((), device=self.precision.device)
        tokens = computed = 0
        for batch, portion, weight in zip(batches, portions, weights, strict=True):
            tokens += weight * count_tokens(batch)
            computed += weight * computed_tokens(self.model, batch, half=self.precision.name != "fp32")
            batch = to_device(batch, self.precision.device)
            with self._random(portion):
                for sums in passes(self.task, self.model, batch, self.precision):
                    loss = weight * torch.stack([value / max(1, counts[term]) for term, value in sums.items()]).sum()
                    torch.autograd.backward(self.precision.scaler.scale(loss))
                    total += loss.detach()
        for hook in self.hooks:
            penalty = hook.penalty()
            if penalty is not None:
                torch.autograd.backward(self.precision.scaler.scale(penalty / self.ranks.size))
                total += penalty.detach() / self.ranks.size
        return self.ranks.add_up(self.model, total, tokens, computed)

    def _update(self) -> None:
        scaler = self.precision.scaler
        if self.recipe.clip is not None:
            scaler.unscale_(self.optimizer)
            self.norm = clip_gradients(self.model, self.recipe.clip).detach()
        scaler.step(self.optimizer)
        scaler.update()
        for hook in self.hooks:
            hook.after_step(self.step)
        self.optimizer.zero_grad(set_to_none=True)

    def _set_lr(self) -> float:
        scale = self.schedule(self.step)
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * scale
        return self._peaks[0] * scale

    def state(self) -> dict[str, Any]:
        """Where the loop is."""
        return {
            "step": self.step,
            "epoch": self.epoch,
            "position": self.position,
            "skip": sorted(self.skip),
            "micro_batch": self.micro_batch,
            "rows_seen": self.rows_seen,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.step, self.epoch, self.position = int(state["step"]), int(state["epoch"]), int(state["position"])
        self.skip = {(int(epoch), int(position)) for epoch, position in state["skip"]}
        self.rows_seen = int(state["rows_seen"])
        self.micro_batch = min(int(state["micro_batch"]), self.recipe.rows_per_pass)


def count_steps(recipe: TrainRecipe, steps: Callable[[int], int]) -> int:
    """Optimiser steps of the whole run, by epochs or `max_steps`, whichever ends first."""
    assert recipe.epochs is not None
    whole, part = int(recipe.epochs), recipe.epochs - int(recipe.epochs)
    most, found = recipe.max_steps, 0
    for epoch in range(whole):
        found += steps(epoch)
        if most is not None and found >= most:
            return most
    found = max(1, found + math.ceil(part * steps(whole) - 1e-9) if part else found)
    return found if most is None else min(found, most)
