"""A chain of stages as one run: each in a folder of its own, the last one's result at the top."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ftcli.data.corpus import mixed
from ftcli.data.corpus_sources import open_corpus
from ftcli.data.sources import open_source
from ftcli.engine import world
from ftcli.engine.checkpoint import link_or_copy
from ftcli.engine.interrupt import Leave, StopRequest
from ftcli.errors import FtcliError, UsageError
from ftcli.models.adapted import read_base
from ftcli.models.load import open_source as open_model
from ftcli.models.methods.based import BASE
from ftcli.recipe.load import build, flatten, read_recipe, to_tree
from ftcli.recipe.schema import Recipe
from ftcli.recipe.stages import COMMANDS, Chain, Stage, chain_yaml, resolve_run, starting_from, told
from ftcli.reports.json_report import dumps
from ftcli.runs import training
from ftcli.runs.environment import prepare_process
from ftcli.runs.failures import naming, stoppable
from ftcli.runs.folder import STAGES, RunFolder, open_together, write_whole
from ftcli.runs.names import check_names
from ftcli.runs.parts import require
from ftcli.runs.resume import differences, nothing_left
from ftcli.runs.shelf import open_shelf
from ftcli.runs.teachers import SELF, teacher_names
from ftcli.runs.training import Result
from ftcli.text import without_secrets
from ftcli.trackers.console import Console

SHOWN = (
    "environment.json",
    "metrics.jsonl",
    "events.jsonl",
    "skipped.txt",
    "differences.jsonl",
    "loss_curve.png",
    "report.txt",
    "report.md",
)
"""Files of the last stage that the chain's folder has as well, beside its models and report.json."""
MODELS = ("model", "adapter")
BEFORE = "the stage before"
"""A model that is not there yet."""


def run(chain: Chain, console: Console, *, resume: bool = False, deadline: float | None = None) -> Result:
    """Run the stages that are not done yet and publish the last one's result; see `training.run`.

    Errors name their stage; `resume` goes on in the stage that was under way.
    """
    prepare_process()
    if not resume:
        check_stages(chain)
    first, last = chain.stages[0].recipe, chain.stages[-1].recipe
    began = partial(begun_as, chain=chain) if resume else None
    folder = open_together(chain.out, chain.command, str(first.model.name), str(last.data.name), resumes=began)
    with folder.locked(console.note):
        if resume:
            check_same(folder.path, chain)
            if world.led(lambda: folder.finished and all(nothing_left(*own) for own in stage_runs(folder.path, chain))):
                console.info(f"{folder.path} is finished already; nothing to resume")
                return Result(folder, None)
        folder.open_log(world.rank())
        try:
            with StopRequest(deadline) as stop, stoppable(stop, folder.path):
                console.info(f"run folder {folder.path}: {len(chain.stages)} stages")
                folder.write("recipe.yaml", chain_yaml(replace(chain, out=None), without_secrets))
                reports = []
                for number in range(1, len(chain.stages) + 1):
                    if any(world.any_of(stop.due)):  # all leave, whoever was asked
                        raise Leave
                    reports.append(run_stage(chain, number, folder.path, console, deadline))
                report = world.led(lambda: publish(chain, folder, reports))
        except (FtcliError, KeyboardInterrupt) as error:
            logging.getLogger(__name__).error("%s: %s", type(error).__name__, error)
            discard_if_empty(folder)
            raise
        folder.close_log()
        return Result(folder, report)


def run_stage(chain: Chain, number: int, run: Path, console: Console, deadline: float | None) -> dict[str, Any]:
    """Run, go on with, or find done the stage `number` (from 1); its report."""
    stage, place, recipe = chain.stages[number - 1], stage_folder(run, chain, number), staged(chain, number, run)
    what = f"{stage.command} {recipe.model.name} on {recipe.data.name}"
    console.info(f"\n{told(number, stage.name)} of {len(chain.stages)}: {what}")
    _, steps = steps_of(stage, recipe)
    begun = world.led((place / "recipe.yaml").is_file)
    if not begun and world.leads():
        shutil.rmtree(place, ignore_errors=True)  # what was half copied out of the cache
    with naming(told(number, stage.name), place, run):
        result = training.run(
            stage.command, recipe, console, steps.assemble, steps.story, resume=begun, deadline=deadline,
            shelf=open_shelf(recipe),
        )  # fmt: skip
    return result.report if result.report is not None else result.folder.report()


def check(chain: Chain, console: Console) -> dict[str, Any]:
    """`--dry-run` of all stages: each from the model that the one before it would train, as it is untrained."""
    prepare_process()
    check_stages(chain)
    facts = []
    with tempfile.TemporaryDirectory(prefix="ftcli-stages-") as folder:
        for number, stage in enumerate(chain.stages, start=1):
            before, own = (stage_folder(Path(folder), chain, n) for n in (max(1, number - 1), number))
            console.info(f"\n{told(number, stage.name)} of {len(chain.stages)}: {stage.command}")
            recipe = starting_from(stage, str(before), str(chain.out or "runs"), earlier(chain, number, Path(folder)))
            recipe, steps = steps_of(stage, recipe)
            with naming(told(number, stage.name), own, Path(chain.out or "runs")):
                found = training.check(recipe, console, steps.assemble, steps.sample, leave=own / "model")
            facts.append({"name": stage.name, "command": stage.command, **found})
            if recipe.model.name == str(before):
                facts[-1]["model"] = f"stage {number - 1}"
    seconds = sum(fact["estimated_seconds"] for fact in facts)
    return {STAGES: facts, "estimated_seconds": round(seconds, 1)}


def check_stages(chain: Chain) -> None:
    """What of every stage can be known before the first one begins: names, the first model, that data is there."""
    for number, stage in enumerate(chain.stages, start=1):
        names = [stage.name for stage in chain.stages[: number - 1]]
        places = {name: BEFORE if name == names[-1] else name for name in names}
        recipe = starting_from(stage, BEFORE if names else None, "", places)
        with naming(told(number, stage.name)):
            recipe, _ = steps_of(stage, recipe)
            require(recipe)
            check_names(recipe)
            if recipe.objective is not None:
                for name in mixed(str(recipe.data.name)):
                    open_corpus(replace(recipe.data, name=name), recipe.corpus.documents)
            else:
                open_source(recipe.data)
            if stage.recipe.model.name is not None:
                open_model(recipe.model)
            known = {SELF, BEFORE, *names}
            for name, _ in teacher_names(recipe.teacher.name or SELF):
                if name not in known:
                    open_model(replace(recipe.model, name=name))


def stage_folder(run: Path, chain: Chain, number: int) -> Path:
    """The folder of a stage's own run."""
    return run / STAGES / f"{number}-{chain.stages[number - 1].name}"


def staged(chain: Chain, number: int, run: Path) -> Recipe:
    """The recipe of a stage in the chain's folder."""
    before = str(stage_folder(run, chain, number - 1)) if number > 1 else None
    stage, own = chain.stages[number - 1], str(stage_folder(run, chain, number))
    return steps_of(stage, starting_from(stage, before, own, earlier(chain, number, run)))[0]


def earlier(chain: Chain, number: int, run: Path) -> dict[str, str]:
    """Name -> folder of the stages before the stage `number`."""
    return {chain.stages[n - 1].name: str(stage_folder(run, chain, n)) for n in range(1, number)}


def steps_of(stage: Stage, recipe: Recipe) -> tuple[Recipe, training.Steps]:
    """The recipe of a stage with what its command fills in, and its steps."""
    found: tuple[Recipe, training.Steps] = COMMANDS.part(stage.command)(recipe)
    return found


# Going on ------------------------------------------------------------------------------------------------------


def read_chain(run: Path) -> Chain | None:
    """The chain that was begun in a folder; None where none was."""
    file = run / "recipe.yaml"
    found = resolve_run(file, {}, (), shown=True) if file.is_file() else None
    return found if isinstance(found, Chain) else None


def begun_as(run: Path, chain: Chain) -> bool:
    """True where the chain in `run` was asked for as this one is; what it leaves open matches anything."""
    before = read_chain(run)
    return (
        before is not None
        and _kinds(before) == _kinds(chain)
        and not any(
            old.recipe.model.name != new.recipe.model.name
            or old.recipe.data.name != new.recipe.data.name
            or differences(flatten(to_tree(old.recipe), "recipe"), new.recipe)
            for old, new in zip(before.stages, chain.stages, strict=True)
        )
    )


def check_same(run: Path, chain: Chain) -> None:
    """UsageError where the folder holds another chain, or a single run."""
    before = read_chain(run)
    if before is None:
        if (run / "recipe.yaml").is_file():
            raise UsageError(f"'{run}' holds a single run, not a chain of stages", hint="choose another --out")
        return
    different = [] if _kinds(before) == _kinds(chain) else [f"stages: {_listed(before)} before, {_listed(chain)} now"]
    for number, (own, recipe) in enumerate(() if different else stage_runs(run, chain), start=1):
        file = own.path / "recipe.yaml"
        found = differences(read_recipe(file), recipe) if file.is_file() else []
        different += [f"{told(number, chain.stages[number - 1].name)}: {what}" for what in found]
    if different:
        raise UsageError(
            f"'{run}' is another chain; it cannot be resumed as this one:\n" + "\n".join(f"  {d}" for d in different),
            hint=f"ftcli {before.command} {run}/recipe.yaml --resume --out {run} goes on as it began",
        )


def stage_runs(run: Path, chain: Chain) -> list[tuple[RunFolder, Recipe]]:
    """Folder and recipe of each stage."""
    return [
        (RunFolder(stage_folder(run, chain, number)), staged(chain, number, run))
        for number in range(1, len(chain.stages) + 1)
    ]


def _listed(chain: Chain) -> str:
    return ", ".join(f"{name} ({command})" for name, command in _kinds(chain))


def _kinds(chain: Chain) -> list[tuple[str, str]]:
    return [(stage.name, stage.command) for stage in chain.stages]


def discard_if_empty(folder: RunFolder) -> None:
    """Remove a chain's folder in which no stage got anywhere."""
    if not world.leads():
        folder.close_log()
        return
    if not (folder.path / STAGES).is_dir():
        (folder.path / "recipe.yaml").unlink(missing_ok=True)
    folder.discard_if_empty()


# The result ----------------------------------------------------------------------------------------------------


def publish(chain: Chain, folder: RunFolder, reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Put the last stage's model and reports where those of any run are, report.json last of all."""
    last = stage_folder(folder.path, chain, len(chain.stages))
    folder.reopen()
    for name in MODELS:
        shutil.rmtree(folder.path / name, ignore_errors=True)
        if (last / name).is_dir():
            (folder.path / name).mkdir()
            for file in sorted((last / name).iterdir()):
                link_or_copy(file, folder.path / name / file.name)
            move_base(last / name, folder.path / name)
    for name in SHOWN:
        (folder.path / name).unlink(missing_ok=True)
        if (last / name).is_file():
            shutil.copyfile(last / name, folder.path / name)
    folder.write("recipe.yaml", chain_yaml(_as_run(chain, folder.path), without_secrets))
    told_of = [
        {"name": stage.name, "command": stage.command, "split": report["data"]["split"], "metrics": report["metrics"]}
        for stage, report in zip(chain.stages, reports, strict=True)
    ]
    report = {**reports[-1], STAGES: told_of}
    folder.write("report.json", dumps(report))
    return report


def move_base(place: Path, other: Path) -> None:
    """Of a model that is kept beside its base, where that lies as seen from its copy in another folder."""
    told = read_base(other)
    if told is not None and told.get("relative"):
        relative = os.path.relpath((place / told["relative"]).absolute(), other.absolute())
        write_whole(other / BASE, json.dumps({**told, "relative": relative}, indent=2) + "\n")


def _as_run(chain: Chain, run: Path) -> Chain:
    """The chain with every choice that was made in its stages."""
    stages = []
    for number, stage in enumerate(chain.stages, start=1):
        values = read_recipe(stage_folder(run, chain, number) / "recipe.yaml")
        values["model.name"], values["teacher.name"] = stage.recipe.model.name, stage.recipe.teacher.name
        stages.append(Stage(stage.name, stage.command, build({path: (v, "recipe") for path, v in values.items()})))
    return Chain(tuple(stages))
