"""What every command that trains does around its own story: folder, lock, log, faults, the loop and its consumers."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ftcli.contract import Example, Rows
from ftcli.data.examples import lengths
from ftcli.data.mixture import MixedSampler
from ftcli.data.pieces import Pieces
from ftcli.data.sampler import Sampler
from ftcli.engine import optim, schedule, world
from ftcli.engine.augment import TokenDropout
from ftcli.engine.forward import compile_forward
from ftcli.engine.hooks import Hook
from ftcli.engine.interrupt import StopRequest
from ftcli.engine.lengthen import Lengthening
from ftcli.engine.loop import Loop, count_steps
from ftcli.engine.seeding import seed_everything
from ftcli.errors import FtcliError, UsageError
from ftcli.places import recognise
from ftcli.recipe.schema import Recipe, TrainRecipe
from ftcli.runs import batch_size, cost, dry_run
from ftcli.runs.best import Best
from ftcli.runs.chunks import Chunks, ChunkSampler
from ftcli.runs.environment import describe, model_fingerprint, prepare_process
from ftcli.runs.failures import check_room, stoppable, translated
from ftcli.runs.fit import Fit
from ftcli.runs.folder import RunFolder, open_together
from ftcli.runs.journal import Journal, open_trackers
from ftcli.runs.lost import lost_workers_named
from ftcli.runs.parts import Parts, require
from ftcli.runs.results import save_untrained
from ftcli.runs.resume import begun_as, check_same, nothing_left, refuse_chain
from ftcli.runs.shelf import Shelf, write_recipe
from ftcli.runs.together import shared_out
from ftcli.text import several, visible
from ftcli.trackers.console import Console

Assemble = Callable[[Recipe, Console], Parts]
Sample = Callable[[Parts, Rows], Sequence[Example]]


@dataclass(frozen=True)
class Result:
    """What a run gave: its folder and its report (None when it was finished before)."""

    folder: RunFolder
    report: dict[str, Any] | None


@dataclass
class Session:
    """A run under way."""

    parts: Parts
    folder: RunFolder
    console: Console
    stop: StopRequest
    resume: bool
    best: Best
    """Set up by `begin`; its state is there once `fit` has trained."""


FRESH_SHOWN = 12
Story = Callable[[Session], dict[str, Any]]


@dataclass(frozen=True)
class Steps:
    """What a command makes of a recipe: its parts, their training, and (where encoding rows is not all) examples."""

    assemble: Assemble
    story: Story
    sample: Sample | None = None


def run(
    command: str,
    recipe: Recipe,
    console: Console,
    assemble: Assemble,
    story: Story,
    *,
    resume: bool = False,
    deadline: float | None = None,
    stop_at: int | None = None,
    shelf: Shelf | None = None,
) -> Result:
    """Train by `recipe` and write the run folder. Raises an FtcliError for everything a user can mend.

    `deadline` (on `time.monotonic`'s clock) and `stop_at` (a step) end the run early, resumably: Stopped. Where `shelf`
    has the run already, it is taken from there.
    """
    prepare_process()
    model_name, data_name = require(recipe)
    began = partial(begun_as, recipe=recipe) if resume else None
    folder = open_together(recipe.out, command, model_name, data_name, resumes=began)
    with folder.locked(console.note):
        if resume:
            refuse_chain(folder.path)
        if resume and world.led(partial(nothing_left, folder, recipe)):
            console.info(f"{folder.path} is finished already; nothing to resume")
            return Result(folder, None)
        folder.open_log(world.rank())
        try:
            with (
                StopRequest(deadline, stop_at) as stop,
                lost_workers_named(recognise(os.environ), folder.path),
                translated(recipe.train, folder.path),
                stoppable(stop, folder.path),
            ):
                seed_everything(recipe.seed, deterministic=recipe.train.deterministic)
                with stop.at_once():
                    parts = assemble(recipe, console)
                    entry = shelf.find(command, parts) if shelf is not None else None
                if entry is not None and not resume and world.led(partial(entry.take, folder, parts.recipe)):
                    console.note(
                        f"nothing to train: kept from before, as {entry.path.name[:12]} in {entry.path.parent}"
                    )
                    report = folder.report()
                else:
                    report = story(begin(parts, folder, console, stop, command, resume=resume))
                    if entry is not None and world.leads():
                        entry.put(folder)
        except (FtcliError, KeyboardInterrupt) as error:
            logging.getLogger(__name__).error("%s: %s", type(error).__name__, error)
            folder.discard_if_empty()
            raise
        folder.close_log()  # after a bug it stays open for the traceback
        return Result(folder, report)


def check(
    recipe: Recipe, console: Console, assemble: Assemble, sample: Sample | None = None, *, leave: Path | None = None
) -> dict[str, Any]:
    """`--dry-run`: everything up to the first batch, and estimates; nothing is trained or written.

    `sample` makes examples of rows as training would, where encoding them is not all there is to it. `leave` is a
    folder for the model as it is untrained: what a later stage would start from.
    """
    prepare_process()
    require(recipe)
    seed_everything(recipe.seed)
    parts = assemble(recipe, console)
    check_room(parts, Path(recipe.out or "runs").expanduser())
    facts = dry_run.check(parts, console, None if sample is None else partial(sample, parts))
    if leave is not None:
        save_untrained(parts, leave)
    console.info("dry run passed: nothing was trained or written")
    return facts


def begin(
    parts: Parts, folder: RunFolder, console: Console, stop: StopRequest, command: str, *, resume: bool
) -> Session:
    """Write down what is about to be done; when resuming, check that it is what was begun."""
    recipe, data = parts.recipe, parts.data
    console.info(f"run folder {folder.path}")
    check_room(parts, folder.path)
    prints = {"model": model_fingerprint(parts.model), "data": dict(data.fingerprints)}
    facts = describe(parts.precision, recipe=recipe, fingerprints=prints)
    training = cost.begun(parts.model, folder.path, resume=resume)
    if resume:
        parts = batch_size.as_before(parts, folder.path)
        recipe = parts.recipe
        check_same(folder.path, recipe, prints, facts, console, command)
        world.wait()
        folder.reopen()
    write_recipe(folder, recipe)
    folder.write_json(cost.FILE, {**facts, cost.KEY: training})
    if data.skipped:
        console.warn(f"{len(data.skipped):,} rows skipped; they are listed in {folder.path / 'skipped.txt'}")
        folder.write("skipped.txt", "".join(f"{visible(p)}\n" for p in data.skipped))
    if parts.fresh:
        console.note(f"starts fresh: {several(parts.fresh, FRESH_SHOWN)}")
    best = Best(recipe.eval.metric or parts.task.main_metric, folder.checkpoints, recipe.eval.patience)
    return Session(parts, folder, console, stop, resume, best)


def fit(
    session: Session,
    examples: Sequence[Example],
    validation: Sequence[Example],
    finish: Callable[[Journal], dict[str, Any]],
    *,
    draw: Callable[[Example, int, int], Example] | None = None,
    place: Callable[[int], str] | None = None,
    after_validation: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Train on `examples`, put the best state into the model, and give what `finish` makes of it.

    `draw` makes an example what it is in an epoch, `place` says where a row comes from, `after_validation` may show
    something of the model.
    """
    parts, folder, console = session.parts, session.folder, session.console
    recipe = parts.recipe
    if recipe.train.batch_size == "auto":
        long = examples.longest if isinstance(examples, Chunks) else longest(examples)
        sized = examples if draw is None else [draw(example, 0, row) for row, example in long]
        parts = batch_size.settle(parts, sized, console)
        session.parts = parts = replace(parts, recipe=world.from_lead(parts.recipe))
        recipe = parts.recipe
        write_recipe(folder, recipe)
    if recipe.train.compile is True:
        compile_forward(parts.model)
        console.note("the forward pass is compiled at its first step, which takes a while")
    session.parts = parts = shared_out(parts, console)
    if isinstance(examples, Chunks) and world.several():
        parts.ranks.held = examples
    loop = build_loop(parts, examples, draw)
    place = place or parts.data.splits["train"].place
    with open_trackers(recipe.log.trackers if world.leads() else "", folder.path) as trackers:
        journal = Journal(trackers, parts.precision.device, recipe.log.every)
        work = Fit(
            parts, loop, session.best, journal, trackers, validation, folder, console, session.stop, place,
            after_validation,
        )  # fmt: skip
        if session.resume:
            work.resume()
        console.info(f"training {loop.total_steps:,} steps of {recipe.train.step_in_words}")
        with cost.measured(folder.path, loop):
            work.run()
        session.best.load_into(parts.model)
        report = finish(journal)
    session.best.discard()
    return report


def longest(examples: Sequence[Example]) -> list[tuple[int, Example]]:
    """The two longest examples and a short one, with their rows: what a measurement of memory looks at."""
    sizes = lengths(examples)
    rows = sorted(range(len(examples)), key=lambda row: -int(sizes[row]))
    return [(row, examples[row]) for row in (*rows[:2], rows[-1])]


def build_sampler(parts: Parts, examples: Sequence[Example]) -> Sampler:
    """Which examples make which step; those of several weighted sources in proportion."""
    train, seed, data = parts.recipe.train, parts.recipe.seed, parts.data
    sizes, tokens = lengths(examples), train.tokens_per_step
    if isinstance(examples, Chunks):
        return ChunkSampler(examples, train.rows_per_step, seed, tokens_per_step=tokens)
    if not data.weights or not isinstance(examples, Pieces):
        return Sampler(sizes, train.rows_per_step, seed, tokens_per_step=tokens)
    groups = data.groups["train"][examples.first[:, 0]]
    return MixedSampler(sizes, groups, data.weights, train.rows_per_step, seed, tokens_per_step=tokens)


def build_loop(
    parts: Parts, examples: Sequence[Example], draw: Callable[[Example, int, int], Example] | None = None
) -> Loop:
    """Sampler, optimiser, schedule and loop of a run."""
    recipe = parts.recipe
    train = recipe.train
    sampler = build_sampler(parts, examples)
    total = plan_steps(train, sampler)
    if train.length_warmup:
        if draw is None or not isinstance(examples, Pieces):
            raise UsageError(
                "train.length_warmup cuts texts to pretrain on, and there are none here",
                hint="--set train.length_warmup=0",
            )
        draw = Lengthening(draw, examples, sampler, math.ceil(train.length_warmup * total), int(max(lengths(examples))))
    optimizer = optim.OPTIMIZERS.part(recipe.optimizer.name)(parts.model, recipe.optimizer)
    factor = schedule.factor(recipe.schedule, total)
    rate = recipe.regularize.token_dropout
    augment = TokenDropout(parts.source.tokenizer, rate) if rate else None
    parts.method.begin(parts.model, total)
    parts.regularizers.begin(total, optimizer)
    hooks: list[Hook] = [parts.method, *parts.regularizers.parts.values()]
    taught: Any = parts.learner
    if hasattr(taught, "after_step"):
        taught.begin(parts.model, total)
        hooks.append(taught)
    return Loop(
        parts.learner,
        parts.model,
        examples,
        sampler,
        optimizer,
        factor,
        parts.precision,
        train,
        total,
        augment,
        draw,
        hooks,
        parts.ranks,
        recipe.seed,
    )


def plan_steps(train: TrainRecipe, sampler: Sampler) -> int:
    """How many steps there are, with the sampler warmed up where the recipe says so."""
    if isinstance(sampler, ChunkSampler):
        assert train.max_steps is not None  # a stream without it was refused
        return train.max_steps
    total = count_steps(train, sampler.steps)
    if train.batch_warmup and isinstance(sampler, MixedSampler):
        raise UsageError(
            "train.batch_warmup does not go with several sources mixed by weight",
            hint="--set train.batch_warmup=0, or one folder with all the texts",
        )
    for _ in range(_SETTLED_AFTER if train.batch_warmup else 0):
        sampler.warm_up(math.ceil(train.batch_warmup * total))
        total = count_steps(train, sampler.steps)
    return total


_SETTLED_AFTER = 4
"""Rounds after which a warm-up is the share asked for of the steps there are: smaller ones make them more."""
