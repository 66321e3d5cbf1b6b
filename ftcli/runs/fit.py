"""Consuming the loop: log, validate, keep the best state, checkpoint, survive faults, stop on request."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ftcli.contract import Example, Progress
from ftcli.engine import world
from ftcli.engine.checkpoint import discard_after, load_newest, make_room, take_snapshot
from ftcli.engine.disk import free_bytes
from ftcli.engine.host import Room
from ftcli.engine.interrupt import Leave, StopRequest
from ftcli.engine.loop import Loop
from ftcli.engine.optim import flush
from ftcli.engine.restore import kept_beside, load_checkpoint
from ftcli.engine.watch import Watch
from ftcli.engine.writer import Writer
from ftcli.errors import DivergedError, UsageError, system_error
from ftcli.recipe.duration import parse_duration
from ftcli.runs.best import Best
from ftcli.runs.failures import stop_error
from ftcli.runs.folder import RunFolder, cannot_write
from ftcli.runs.journal import Journal, Trackers
from ftcli.runs.learner import rows_meet
from ftcli.runs.parts import Parts
from ftcli.runs.results import score
from ftcli.text import several
from ftcli.trackers.console import Console

SAVE_SECONDS = 600.0
"""Between checkpoints where the recipe does not say."""
SAVE_MARGIN = 4.0
"""Times the last checkpoint took that are kept free before a deadline."""


@dataclass
class Fit:
    """A run between its first and its last step."""

    parts: Parts
    loop: Loop
    best: Best
    journal: Journal
    trackers: Trackers
    validation: Sequence[Example]
    folder: RunFolder
    console: Console
    stop: StopRequest
    place: Callable[[int], str]
    """Where a training row comes from."""
    after_validation: Callable[[], None] | None = None
    rollbacks: int = 0
    writer: Writer = field(init=False)
    watch: Watch = field(init=False)

    def __post_init__(self) -> None:
        recipe, precision = self.parts.recipe, self.parts.precision
        lines = [self.folder.path / name for name in ("metrics.jsonl", "events.jsonl")]
        self.writer = Writer(self.folder.checkpoints, recipe.checkpoint.keep, lines)
        self.watch = Watch(precision.device, recipe.train.spike, check_norm=not precision.scaler.is_enabled())
        self.every_steps, self.every_seconds = checkpoint_rhythm(recipe.checkpoint.every)
        self._began = self._saved = self._stepped = time.monotonic()
        self._late = False
        """True where too much time went by since the last checkpoint."""
        self._longest_step = 0.0
        self._micro_batch = self.loop.micro_batch
        self._room = Room()

    def resume(self) -> None:
        """Go on from the newest whole checkpoint; from step 0 where there is none."""
        checkpoint, problems = load_newest(self.folder.checkpoints, self._load)
        for problem in problems:
            self.console.warn(problem)
        if checkpoint is None:
            self.console.info("no checkpoint to resume from; starting at step 0")
            self.trackers.truncate_after(-1)
            self._discard_after(-1)
            return
        self._settle()
        self.console.info(f"resumed from {checkpoint.name}")

    def run(self) -> None:
        """Train to the end; raises Stopped or Interrupted, with everything saved, where asked to stop."""
        if self.loop.step == 0:
            self.save()
        left = False
        with self.console.progress("train", self.loop.total_steps, "steps", start=self.loop.step) as bar:
            try:
                if self.best.validated != self.loop.step and self._validation_due(self.loop.step, self._ended()):
                    self._validate(self.loop.step, self._epoch())
                    self.save()  # what stopped the run before it was validated saved it as it was then
                self.journal.start()
                for progress in self.loop if not self.best.exhausted else ():
                    bar.advance(1, rows=progress.rows, **self.journal.shown(self.best))
                    self._after(progress)
                    bar.advance(self.loop.step - progress.step)  # a rollback goes back
                    if self.best.exhausted:
                        break
                bar.advance(0, **self.journal.shown(self.best))  # the last validation came after the last step
            except Leave:
                left = True
            self.save()
            self._finish_writing()
        self._tell_share()
        if left:
            self._stopped()
        if self.best.exhausted:
            self.console.info(f"no better {self.best.metric} for {self.best.patience} validations: stopped early")

    def _after(self, progress: Progress) -> None:
        """What follows a step."""
        self._note_step(progress)
        self._room.give_back()
        due = self.journal.step(progress)
        validate = self._validation_due(progress.step, progress.epoch_ended)
        at_end = progress.step == progress.total_steps
        save = self._save_due(progress.step, validate)
        host = self.parts.precision.device.type == "cpu"
        bad = self.watch.first_bad() if host or due is not None or validate or save or at_end else None
        if bad is not None:
            self._roll_back(bad)
            return
        if due is not None:
            self.journal.write(due)
        if validate:
            self._validate(progress.step, progress.epoch)
        if save:
            self.save()
        self.stop.step = progress.step
        self.stop.needed = self._longest_step + SAVE_MARGIN * self.writer.seconds
        leave, self._late = self.loop.ranks.asked(self.stop.due, self._unsaved_for_long())
        if leave:
            raise Leave

    def save(self) -> None:
        """Write a checkpoint while training goes on; one that fails is told and the one before stays."""
        self.writer.wait()
        self._tell_failure()
        if world.from_lead(self.writer.written == self.loop.step):
            return
        try:
            self.trackers.flush()  # a resumed run does not write the lines before its checkpoint again
        except OSError as error:
            self.writer.fail(error)
        if world.from_lead(self.writer.failed):
            return
        self.best.prune()
        state = {
            "best": self.best.state(),
            "journal": self.journal.state(),
            "watch": self.watch.state(),
            "rollbacks": self.rollbacks,
        }
        snapshot = take_snapshot(self.loop, state, self.best.file, self.parts.regularizers.tensors())
        if snapshot.shares:
            world.led(lambda: make_room(self.folder.checkpoints, snapshot.step, shares=True))
        if snapshot.shares or world.leads():
            self.writer.submit(snapshot)
        self._saved, self._late = time.monotonic(), False

    def _load(self, checkpoint: Path) -> None:
        state = load_checkpoint(checkpoint, self.loop)
        self.parts.regularizers.restore(kept_beside(checkpoint))
        self.best.restore(state["best"], checkpoint)
        self.journal.restore(state["journal"])
        self.watch.restore(state["watch"])
        self.rollbacks = max(self.rollbacks, int(state["rollbacks"]))

    def _settle(self) -> None:
        """Forget what came after the checkpoint that was loaded."""
        self.trackers.truncate_after(self.loop.step)
        self._discard_after(self.loop.step)
        self.writer.written = self.loop.step
        self._micro_batch = self.loop.micro_batch

    def _discard_after(self, step: int) -> None:
        world.wait()  # others may still be reading
        if world.leads():
            discard_after(self.folder.checkpoints, step)

    def _validate(self, step: int, epoch: float) -> None:
        """Score the validation split, write it down, say it, and keep the state if it is the best so far."""
        flush(self.loop.optimizer)
        with self.parts.regularizers.scored():
            evaluation = score(
                self.parts, "validation", self.validation, self.console, bootstrap=0, keep=False, stop=self.stop
            )
            self.journal.validation(step, epoch, evaluation)
            kept = self.parts.method.settled(step)
            better = kept and self.best.offer(evaluation.metrics, step, epoch, self.parts.model)
            self.best.validated = step
            self.writer.written = None  # a checkpoint of this step would not know of it
            metric = self.best.metric
            shown = [f"{name} {evaluation.metrics[name]:.4f}" for name in dict.fromkeys(("loss", metric))]
            self.console.info(f"epoch {epoch:.4g}  validation {'  '.join(shown)}{'  best so far' if better else ''}")
            if self.after_validation is not None:
                self.after_validation()
        self._stepped = time.monotonic()

    def _roll_back(self, bad: Progress) -> None:
        """Back to the last whole checkpoint, with the rows of the bad step passed over from now on."""
        limit = self.parts.recipe.train.max_rollbacks
        places = [self.place(row) for row in self.loop.rows_at(*bad.at)]
        loss = float(bad.loss)
        what = "the gradient is not finite or far too large" if math.isfinite(loss) else f"the loss is {loss:g}"
        self.writer.wait()
        world.wait()
        skip, count = {*self.loop.skip, bad.at}, self.rollbacks + 1
        if count > limit or load_newest(self.folder.checkpoints, self._load)[0] is None:
            raise DivergedError(
                f"training diverged: {what} at step {bad.step:,}, after {count - 1} rollbacks; "
                f"its rows: {several(places, 5)}",
                hint="a smaller --lr, a longer warm-up (--set schedule.warmup=0.1) or --precision fp32",
            )
        self._settle()
        self.loop.skip |= skip
        self.rollbacks = count
        self.folder.event(bad.step, "rollback", reason=what, to=self.loop.step, rows=places)
        self.console.warn(
            f"{what} at step {bad.step:,}: back to step {self.loop.step:,}, passing over its rows "
            f"({several(places, 5)}); rollback {count} of at most {limit}"
        )

    def _note_step(self, progress: Progress) -> None:
        now = time.monotonic()
        self._longest_step = max(self._longest_step, now - self._stepped)
        self._stepped = now
        self.watch.take(progress, self.loop.norm)
        if self.loop.micro_batch != self._micro_batch:
            self._micro_batch = self.loop.micro_batch
            same = "" if rows_meet(self.parts.task, self.parts.recipe) else "; the results are the same"
            said = f"{self._micro_batch} rows per forward pass from step {progress.step:,} on{same}"
            self.console.warn(f"out of memory: {said}")
            self.folder.event(progress.step, "out_of_memory", micro_batch=self._micro_batch)

    def _validation_due(self, step: int, epoch_ended: bool) -> bool:
        every = self.parts.recipe.eval.every
        due = epoch_ended if every is None else step % every == 0
        return step > 0 and (due or step == self.loop.total_steps)

    def _save_due(self, step: int, validated: bool) -> bool:
        if self.every_steps is not None:
            return step % self.every_steps == 0
        return self._late or (validated and self.parts.recipe.checkpoint.every is None)

    def _unsaved_for_long(self) -> bool:
        return self.every_steps is None and time.monotonic() - self._saved >= self.every_seconds

    def _ended(self) -> bool:
        return self.loop.position == 0 and self.loop.step > 0

    def _epoch(self) -> float:
        return self.loop.epoch + self.loop.position / len(self.loop.sampler.plan(self.loop.epoch))

    def _tell_failure(self) -> None:
        failure = self.writer.failure()
        if failure is not None:
            cause = system_error(failure)
            said = cause.strerror if cause is not None else failure
            left = free_bytes(self.folder.path)
            self.console.warn(
                f"a checkpoint could not be written ({said}; {left / 2**20:,.0f} MiB free); the one before stays"
            )
            self.folder.event(self.loop.step, "checkpoint_failed", reason=str(said))

    def _finish_writing(self) -> None:
        """The last checkpoint has to be whole: a failure to write it is the run's own."""
        world.led(self._written)

    def _written(self) -> None:
        self.writer.wait()
        failure = self.writer.failure()
        if failure is not None:
            cause = system_error(failure)
            if cause is None:
                raise failure
            raise cannot_write(self.folder.checkpoints, cause) from failure

    def _tell_share(self) -> None:
        """What of the time of several processes went into being several."""
        ranks, took = self.loop.ranks, time.monotonic() - self._began
        if ranks.strategy == "ddp":
            said = f"{ranks.seconds:.1f} of {took:.1f} s ({ranks.seconds / max(took, 1e-9):.0%})"
            self.console.info(f"telling other processes and waiting for them: {said}")

    def _stopped(self) -> None:
        late = self.stop.due and self.stop.signal is None and self.stop.at is None  # else another process was asked
        why = " before the budget runs out" if late else ""
        raise stop_error(self.stop)(
            f"stopped at step {self.loop.step:,}{why}; checkpoint saved",
            hint=f"go on with the same command and --resume --out {self.folder.path}",
        )


def checkpoint_rhythm(every: int | str | None) -> tuple[int | None, float]:
    """Steps between checkpoints, or None and the seconds between them."""
    if every is None:
        return None, SAVE_SECONDS
    if isinstance(every, str) and not every.strip().isdigit():
        return None, parse_duration(every, "checkpoint.every")
    if int(every) < 1:
        raise UsageError(f"checkpoint.every is {every}; expected steps (at least 1) or a time such as 10m")
    return int(every), float("inf")
