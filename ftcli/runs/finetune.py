"""`ftcli finetune`: pretrained model + labelled data -> the best state on validation, scored once on test."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ftcli.contract import Example
from ftcli.data.sampler import Sampler
from ftcli.engine import optim, schedule
from ftcli.engine.augment import TokenDropout
from ftcli.engine.evaluate import lengths
from ftcli.engine.forward import compile_forward
from ftcli.engine.interrupt import StopRequest
from ftcli.engine.loop import Loop, count_steps
from ftcli.engine.seeding import seed_everything
from ftcli.errors import FtcliError
from ftcli.recipe.load import to_yaml
from ftcli.recipe.schema import Recipe
from ftcli.runs import batch_size, dry_run
from ftcli.runs.best import Best
from ftcli.runs.encode import encode
from ftcli.runs.environment import describe, model_fingerprint, prepare_process
from ftcli.runs.failures import check_room, stoppable, translated
from ftcli.runs.fit import Fit
from ftcli.runs.folder import RunFolder, open_folder
from ftcli.runs.journal import Journal, open_trackers
from ftcli.runs.parts import Parts, assemble, require
from ftcli.runs.results import build_report, score, write_model, write_reports
from ftcli.runs.resume import begun_as, check_same, nothing_left
from ftcli.text import visible, without_secrets
from ftcli.trackers.console import Console


@dataclass(frozen=True)
class Result:
    """What a run gave: its folder and its report (None when it was finished before)."""

    folder: RunFolder
    report: dict[str, Any] | None


def run(
    recipe: Recipe,
    console: Console,
    *,
    resume: bool = False,
    deadline: float | None = None,
    stop_at: int | None = None,
) -> Result:
    """Train by `recipe` and write the run folder. Raises an FtcliError for everything a user can mend.

    `deadline` (on `time.monotonic`'s clock) and `stop_at` (a step) end the run early, resumably: Stopped.
    """
    prepare_process()
    model_name, data_name = require(recipe)
    began = partial(begun_as, recipe=recipe) if resume else None
    folder = open_folder(recipe.out, "finetune", model_name, data_name, resumes=began)
    with folder.locked(console.note):
        if resume and nothing_left(folder, recipe):
            console.info(f"{folder.path} is finished already; nothing to resume")
            return Result(folder, None)
        folder.open_log()
        try:
            with (
                StopRequest(deadline, stop_at) as stop,
                translated(recipe.train, folder.path),
                stoppable(stop, folder.path),
            ):
                seed_everything(recipe.seed, deterministic=recipe.train.deterministic)
                with stop.at_once():
                    parts = assemble(recipe, console)
                report = train(parts, folder, console, resume=resume, stop=stop)
        except (FtcliError, KeyboardInterrupt) as error:
            logging.getLogger(__name__).error("%s: %s", type(error).__name__, error)
            folder.discard_if_empty()
            raise
        folder.close_log()  # after a bug it stays open for the traceback
        return Result(folder, report)


def check(recipe: Recipe, console: Console) -> dict[str, Any]:
    """`--dry-run`: everything up to the first batch, and estimates; nothing is trained or written."""
    prepare_process()
    require(recipe)
    seed_everything(recipe.seed)
    parts = assemble(recipe, console)
    facts = dry_run.check(parts, console)
    check_room(parts, Path(recipe.out or "runs").expanduser())
    console.info("dry run passed: nothing was trained or written")
    return facts


def train(parts: Parts, folder: RunFolder, console: Console, *, resume: bool, stop: StopRequest) -> dict[str, Any]:
    """The story of a run: encode, train, keep the best, score the test split, write."""
    recipe, task, data = parts.recipe, parts.task, parts.data
    console.info(f"run folder {folder.path}")
    check_room(parts, folder.path)
    prints = {"model": model_fingerprint(parts.model), "data": dict(data.fingerprints)}
    facts = describe(parts.precision, recipe=recipe, fingerprints=prints)
    if resume:
        parts = batch_size.as_before(parts, folder.path)
        recipe = parts.recipe
        check_same(folder.path, recipe, prints, facts, console)
        folder.reopen()
    write_recipe(folder, recipe)
    folder.write_json("environment.json", facts)
    if data.skipped:
        console.warn(f"{len(data.skipped):,} rows skipped; they are listed in {folder.path / 'skipped.txt'}")
        folder.write("skipped.txt", "".join(f"{visible(p)}\n" for p in data.skipped))
    if parts.fresh:
        console.note(f"starts fresh: {', '.join(parts.fresh)}")

    examples = encode(parts, "train", console, stop)
    validation = encode(parts, "validation", console, stop)
    if recipe.train.batch_size == "auto":
        parts = batch_size.settle(parts, examples, console)
        recipe = parts.recipe
        write_recipe(folder, recipe)
    if recipe.train.compile is True:
        compile_forward(parts.model)
        console.note("the forward pass is compiled at its first step, which takes a while")
    loop = build_loop(parts, examples)
    best = Best(recipe.eval.metric or task.main_metric, folder.checkpoints, recipe.eval.patience)
    with open_trackers(recipe.log.trackers, folder.path) as trackers:
        journal = Journal(trackers, parts.precision.device, recipe.log.every)
        fit = Fit(parts, loop, best, journal, trackers, validation, folder, console, stop)
        if resume:
            fit.resume()
        console.info(f"training {loop.total_steps:,} steps of {recipe.train.step_in_words}")
        fit.run()
        best.load_into(parts.model)
        report = finish(parts, folder, journal, best, validation, console, stop)
    best.discard()
    return report


def write_recipe(folder: RunFolder, recipe: Recipe) -> None:
    """recipe.yaml: without secrets, and without the folder's own name, so that a repeat gets a new one."""
    folder.write("recipe.yaml", to_yaml(replace(recipe, out=None), without_secrets))


def build_loop(parts: Parts, examples: Sequence[Example]) -> Loop:
    """Sampler, optimiser, schedule and loop of a run."""
    recipe = parts.recipe
    train = recipe.train
    sampler = Sampler(lengths(examples), train.rows_per_step, recipe.seed, tokens_per_step=train.tokens_per_step)
    total = count_steps(train, sampler.steps)
    optimizer = optim.OPTIMIZERS.part(recipe.optimizer.name)(parts.model, recipe.optimizer)
    factor = schedule.factor(recipe.schedule, total)
    rate = recipe.regularize.token_dropout
    augment = TokenDropout(parts.source.tokenizer, rate) if rate else None
    return Loop(
        parts.task, parts.model, examples, sampler, optimizer, factor, parts.precision, recipe.train, total, augment
    )


def finish(
    parts: Parts,
    folder: RunFolder,
    journal: Journal,
    best: Best,
    validation: Sequence[Example],
    console: Console,
    stop: StopRequest,
) -> dict[str, Any]:
    """Score the test split once with the best state, write model and reports."""
    split = "test" if "test" in parts.data.splits else "validation"
    if split == "validation":
        console.warn("no test split: the report is of the validation split, on which the best state was chosen")
    examples = encode(parts, split, console, stop) if split == "test" else validation
    began = time.perf_counter()
    evaluation = score(parts, split, examples, console, bootstrap=parts.recipe.eval.bootstrap, stop=stop)
    seconds = time.perf_counter() - began
    report = build_report("finetune", parts, split, evaluation, seconds, gates=[])
    journal.final(split, evaluation, step=best.step, epoch=best.epoch)
    write_model(parts, folder, report, best)
    write_reports(folder.path, report)
    return report
