"""`ftcli finetune`: pretrained model + labelled data -> the best state on validation, scored once on test."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, replace
from typing import Any

from ftcli.contract import Example, Progress
from ftcli.data.sampler import Sampler
from ftcli.engine import optim, schedule
from ftcli.engine.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint
from ftcli.engine.evaluate import encode_rows, lengths
from ftcli.engine.interrupt import StopRequest
from ftcli.engine.loop import Loop, count_steps
from ftcli.engine.seeding import seed_everything
from ftcli.errors import DivergedError, FtcliError, Interrupted, Stopped
from ftcli.recipe.load import to_yaml
from ftcli.recipe.schema import Recipe
from ftcli.runs import dry_run
from ftcli.runs.best import Best
from ftcli.runs.environment import describe, model_fingerprint, quiet_libraries
from ftcli.runs.failures import translated
from ftcli.runs.folder import RunFolder, open_folder
from ftcli.runs.journal import Journal, open_trackers
from ftcli.runs.parts import Parts, assemble, require
from ftcli.runs.results import build_report, score, write_model, write_reports
from ftcli.trackers.console import Console


@dataclass(frozen=True)
class Result:
    """What a run gave: its folder and its report (None when it was finished before)."""

    folder: RunFolder
    report: dict[str, Any] | None


def run(recipe: Recipe, console: Console, *, resume: bool = False) -> Result:
    """Train by `recipe` and write the run folder. Raises an FtcliError for everything a user can mend."""
    quiet_libraries()
    model_name, data_name = require(recipe)
    folder = open_folder(recipe.out, "finetune", model_name, data_name, resume=resume)
    if resume and folder.finished:
        console.info(f"{folder.path} is finished already; nothing to resume")
        return Result(folder, None)
    folder.open_log()
    try:
        with translated(recipe.train, folder.path):
            seed_everything(recipe.seed, deterministic=recipe.train.deterministic)
            result = Result(folder, train(assemble(recipe, console), folder, console, resume=resume))
    except (FtcliError, KeyboardInterrupt):
        folder.discard_if_empty()
        raise
    folder.close_log()  # after a bug it stays open for the traceback
    return result


def check(recipe: Recipe, console: Console) -> dict[str, Any]:
    """`--dry-run`: everything up to the first batch, and estimates; nothing is trained or written."""
    quiet_libraries()
    require(recipe)
    seed_everything(recipe.seed)
    return dry_run.check(assemble(recipe, console), console)


def train(parts: Parts, folder: RunFolder, console: Console, *, resume: bool) -> dict[str, Any]:
    """The story of a run: encode, train, keep the best, score the test split, write."""
    recipe, task, data = parts.recipe, parts.task, parts.data
    console.info(f"run folder {folder.path}")
    folder.write("recipe.yaml", to_yaml(recipe_to_repeat(recipe)))
    fingerprints = {"model": model_fingerprint(parts.model), "data": dict(data.fingerprints)}
    folder.write_json("environment.json", describe(parts.precision, seed=recipe.seed, fingerprints=fingerprints))
    if data.skipped:
        console.warn(f"{len(data.skipped):,} rows skipped; they are listed in {folder.path / 'skipped.txt'}")
        folder.write("skipped.txt", "".join(f"{p}\n" for p in data.skipped))
    if parts.fresh:
        console.note(f"starts fresh: {', '.join(parts.fresh)}")

    examples = encode(parts, "train", console)
    validation = encode(parts, "validation", console)
    loop = build_loop(parts, examples)
    best = Best(recipe.eval.metric or task.main_metric, folder.checkpoints, recipe.eval.patience)
    with open_trackers(recipe.log.trackers, folder.path) as trackers:
        journal = Journal(trackers, parts.precision.device, recipe.log.every)
        checkpoint = newest_checkpoint(folder.checkpoints) if resume else None
        if checkpoint is not None:
            state = load_checkpoint(checkpoint, loop)
            best.restore(state["best"])
            journal.restore(state["journal"])
            trackers.truncate_after(loop.step)
            console.info(f"resumed from {checkpoint.name}")
        elif resume:
            console.info("no checkpoint to resume from; starting at step 0")
            trackers.truncate_after(-1)
        fit(parts, loop, best, journal, validation, folder, console)
        best.load_into(parts.model)
        report = finish(parts, folder, journal, best, console)
    best.discard()
    return report


def recipe_to_repeat(recipe: Recipe) -> Recipe:
    """The recipe as it is kept in the run folder: without the folder's own name, so that a repeat gets a new one."""
    return replace(recipe, out=None)


def encode(parts: Parts, split: str, console: Console) -> list[Example]:
    """The split tokenized, with the share of rows that were cut said."""
    rows = parts.data.splits[split]
    with console.progress(f"tokenize {split}", len(rows), "rows") as bar:
        examples = encode_rows(parts.task, rows, on_rows=bar.advance)
    cut = sum(bool(e.get("truncated")) for e in examples)
    if cut:
        console.note(
            f"{split}: {cut:,} of {len(rows):,} texts ({cut / len(rows):.1%}) are longer than "
            f"{parts.recipe.train.max_length} tokens and were cut"
        )
    return examples


def build_loop(parts: Parts, examples: list[Example]) -> Loop:
    """Sampler, optimiser, schedule and loop of a run."""
    recipe = parts.recipe
    sampler = Sampler(lengths(examples), recipe.train.batch_size * recipe.train.gradient_accumulation, recipe.seed)
    total = count_steps(recipe.train, sampler.steps_per_epoch)
    optimizer = optim.OPTIMIZERS.part(recipe.optimizer.name)(parts.model, recipe.optimizer)
    factor = schedule.factor(recipe.schedule, total)
    return Loop(parts.task, parts.model, examples, sampler, optimizer, factor, parts.precision, recipe.train, total)


def fit(
    parts: Parts,
    loop: Loop,
    best: Best,
    journal: Journal,
    validation: list[Example],
    folder: RunFolder,
    console: Console,
) -> None:
    """Consume the loop: log, validate, keep the best state, checkpoint, stop early or on request."""
    recipe = parts.recipe

    def save() -> None:
        state = {"best": best.state(), "journal": journal.state()}
        save_checkpoint(folder.checkpoints, loop, state, recipe.checkpoint.keep)

    console.info(
        f"training {loop.total_steps:,} steps of {recipe.train.batch_size * recipe.train.gradient_accumulation} rows"
    )
    with StopRequest() as stop, console.progress("train", loop.total_steps, "steps", start=loop.step) as bar:
        for progress in loop:
            due = journal.step(progress)
            if due is not None:
                check_finite(due["loss"], progress.step)
            bar.advance(1, rows=progress.rows, **journal.shown(best))
            validated = progress.epoch_ended if recipe.eval.every is None else progress.step % recipe.eval.every == 0
            if validated or progress.step == loop.total_steps:
                validate(parts, progress, best, journal, validation, console)
            checkpointed = (
                validated if recipe.checkpoint.every is None else progress.step % recipe.checkpoint.every == 0
            )
            if checkpointed or stop.signal is not None:
                save()
            if stop.signal is not None and progress.step < loop.total_steps:
                kind = Interrupted if stop.signal == signal.SIGINT else Stopped
                raise kind(f"stopped at step {progress.step:,}; checkpoint saved", hint=f"--resume --out {folder.path}")
            if best.exhausted:
                console.info(f"no better {best.metric} for {recipe.eval.patience} validations: stopped early")
                break


def validate(
    parts: Parts, progress: Progress, best: Best, journal: Journal, examples: list[Example], console: Console
) -> None:
    """Score the validation split, write it down, say it, and keep the state if it is the best so far."""
    evaluation = score(parts, "validation", examples, console, bootstrap=0, keep=False)
    journal.validation(progress, evaluation)
    better = best.offer(evaluation.metrics, progress, parts.model)
    shown = [f"{name} {evaluation.metrics[name]:.4f}" for name in dict.fromkeys(("loss", best.metric))]
    console.info(f"epoch {progress.epoch:.4g}  validation {'  '.join(shown)}{'  best so far' if better else ''}")


def check_finite(loss: float, step: int) -> None:
    """DivergedError for a loss that is no number any more."""
    if not -float("inf") < loss < float("inf"):
        raise DivergedError(
            f"training diverged: the loss is {loss} at step {step:,}",
            hint="a smaller --lr, a longer warm-up (--set schedule.warmup=0.1) or --precision fp32",
        )


def finish(parts: Parts, folder: RunFolder, journal: Journal, best: Best, console: Console) -> dict[str, Any]:
    """Score the test split once with the best state, write model and reports."""
    split = "test" if "test" in parts.data.splits else "validation"
    if split == "validation":
        console.warn("no test split: the report is of the validation split, on which the best state was chosen")
    examples = encode(parts, split, console)
    began = time.perf_counter()
    evaluation = score(parts, split, examples, console, bootstrap=parts.recipe.eval.bootstrap)
    seconds = time.perf_counter() - began
    report = build_report("finetune", parts, split, evaluation, seconds, gates=[])
    journal.final(split, evaluation, step=best.step, epoch=best.epoch)
    write_model(parts, folder, report, best)
    write_reports(folder.path, report)
    return report
