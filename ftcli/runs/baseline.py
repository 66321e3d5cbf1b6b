"""The student without its teacher: the same model, rows, steps and seed, labels alone."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from ftcli.contract import Task
from ftcli.engine import world
from ftcli.engine.seeding import seed_everything
from ftcli.models.load import Source
from ftcli.recipe.distill_schema import DistillRecipe, TeacherRecipe
from ftcli.runs import finetune, training
from ftcli.runs.encode import encode
from ftcli.runs.folder import RunFolder
from ftcli.runs.parts import build
from ftcli.runs.training import Session
from ftcli.trackers.console import Console

FOLDER = "baseline"
_SPLITS = ("train", "validation", "test")


def train_baseline(session: Session, source: Source, task: Task) -> dict[str, Any]:
    """Train `task` into the run folder's baseline/, a run folder of its own, and give its report; `ftcli finetune`
    repeats it. Raises what training does where the run is asked to stop; the next time it goes on."""
    parts, console = session.parts, session.console
    folder = RunFolder(session.folder.path / FOLDER)
    folder.path.mkdir(exist_ok=True)
    # One process looks, before any writes there: what each saw for itself would depend on who is first.
    finished, begun = world.led(lambda: (folder.finished, (folder.path / "recipe.yaml").is_file()))
    if finished:
        return folder.report()
    recipe = replace(parts.recipe, teacher=TeacherRecipe(), distill=DistillRecipe(), out=None)
    splits = {name: rows for name, rows in parts.data.splits.items() if name in _SPLITS}
    prints = {name: parts.data.fingerprints[name] for name in splits}
    data = replace(parts.data, splits=splits, fingerprints=prints)
    seed_everything(recipe.seed, deterministic=recipe.train.deterministic)
    alone = build(recipe, Console(quiet=True), parts.scoring, source, data, task)
    console.info("the same student without its teacher")
    inner = training.begin(alone, folder, console, session.stop, "finetune", resume=begun)
    examples = encode(alone, "train", console, session.stop)
    validation = encode(alone, "validation", console, session.stop)
    return training.fit(inner, examples, validation, partial(finetune.finish, inner, validation))
