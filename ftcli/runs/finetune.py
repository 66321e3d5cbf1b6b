"""`ftcli finetune`: pretrained model + labelled data -> the best state on validation, scored once on test."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from ftcli.contract import Example
from ftcli.contract_options import Augmenting
from ftcli.engine.corrupt import drawing
from ftcli.recipe.schema import Recipe
from ftcli.runs import samples, training
from ftcli.runs.encode import encode
from ftcli.runs.journal import Journal
from ftcli.runs.parts import assemble
from ftcli.runs.results import build_report, score, settle, write_model, write_reports
from ftcli.runs.training import Result, Session, Steps
from ftcli.tasks.writer import Writer
from ftcli.trackers.console import Console


def run(
    recipe: Recipe,
    console: Console,
    *,
    resume: bool = False,
    deadline: float | None = None,
    stop_at: int | None = None,
) -> Result:
    """Fine-tune by `recipe` and write the run folder; see `training.run`."""
    return training.run("finetune", recipe, console, assemble, train, resume=resume, deadline=deadline, stop_at=stop_at)


def check(recipe: Recipe, console: Console) -> dict[str, Any]:
    """`--dry-run`; see `training.check`."""
    return training.check(recipe, console, assemble)


def train(session: Session) -> dict[str, Any]:
    """The story of a run: encode, train, keep the best, score the test split, write."""
    examples = encode(session.parts, "train", session.console, session.stop)
    validation = encode(session.parts, "validation", session.console, session.stop)
    task, source, seed = session.parts.task, session.parts.source, session.parts.recipe.seed
    varied = isinstance(task, Augmenting) and task.augments(from_scratch=source.from_scratch)
    draw = drawing(cast(Augmenting, task).augment, seed) if varied else None
    return training.fit(
        session,
        examples,
        validation,
        partial(finish, session, validation),
        draw=draw,
        after_validation=show_before(session, validation) if isinstance(session.parts.task, Writer) else None,
    )


def show_before(session: Session, validation: Sequence[Example]) -> Callable[[], None]:
    """Of a model that writes: how it does before it has learnt anything, and what shows a few of its answers."""
    parts, console = session.parts, session.console
    asked = samples.of_validation(session)
    if not session.resume and not parts.source.from_scratch:
        before = score(parts, "validation", validation, console, bootstrap=0, keep=False, stop=session.stop)
        said = "  ".join(f"{name} {value:.4f}" for name, value in before.metrics.items())
        console.info(f"before training  validation {said}")
        samples.show(session, asked)
    return partial(samples.show, session, asked)


def finish(session: Session, validation: Sequence[Example], journal: Journal) -> dict[str, Any]:
    """Score the test split once with the best state, write model and reports."""
    parts, folder, console, best = session.parts, session.folder, session.console, session.best
    split = "test" if "test" in parts.data.splits else "validation"
    if split == "validation":
        console.warn("no test split: the report is of the validation split, on which the best state was chosen")
    settle(parts, validation, console, session.stop)
    examples = encode(parts, split, console, session.stop) if split == "test" else validation
    began = time.perf_counter()
    evaluation = score(parts, split, examples, console, bootstrap=parts.recipe.eval.bootstrap, stop=session.stop)
    seconds = time.perf_counter() - began
    report = build_report("finetune", parts, split, evaluation, seconds, gates=[])
    journal.final(split, evaluation, step=best.step, epoch=best.epoch)
    if outcome := parts.method.outcome(parts.model):
        console.note(outcome)
    write_model(parts, folder, report, best, validation, console)
    write_reports(folder.path, report)
    return report


def stage(recipe: Recipe) -> tuple[Recipe, Steps]:
    """The recipe and the steps of a stage of a chain."""
    return recipe, Steps(assemble, train)
