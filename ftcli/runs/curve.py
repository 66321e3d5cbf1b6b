"""`ftcli curve`: a target trained on more and more rows, alone and from a source: what transfer is worth, and when."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ftcli.engine.interrupt import StopRequest
from ftcli.engine.seeding import seed_everything
from ftcli.errors import FtcliError, UsageError
from ftcli.metrics.gates import lower_is_better
from ftcli.models.load import open_source
from ftcli.recipe.schema import DataRecipe, ModelRecipe, Recipe
from ftcli.recipe.stages import Chain, Stage
from ftcli.reports.json_report import dumps
from ftcli.reports.learning_curve import ARMS, as_markdown, points, write_png
from ftcli.runs import chain as chains
from ftcli.runs import finetune
from ftcli.runs.environment import prepare_process
from ftcli.runs.failures import naming, stoppable
from ftcli.runs.folder import RunFolder, open_folder
from ftcli.runs.parts import assemble, require
from ftcli.runs.resume import nothing_left
from ftcli.trackers.console import Console

SCHEMA = 1
SOURCE, CELLS, RESULT = "source", "cells", "curve.json"


@dataclass(frozen=True)
class Plan:
    """What is compared: the target's recipe, with the model it starts from alone, and what it starts from otherwise."""

    target: Recipe
    sizes: tuple[str, ...]
    """Numbers of training rows, or all."""
    seeds: tuple[int, ...]
    source: str | None = None
    """A run or model; or"""
    stages: tuple[Stage, ...] = ()
    """what is run for it first. Neither: the target alone."""
    out: str | None = None

    @property
    def arms(self) -> list[str]:
        """Ways to train the target."""
        return list(ARMS) if self.source is not None or self.stages else ["target_only"]


def plan(settings: Recipe | Chain, sizes: str, seeds: str, source: str | None, source_data: str | None) -> Plan:
    """The plan of a command line; UsageError for what does not go together.

    Of a chain the last stage is the target, those before it are the source, and the target alone starts from the model
    that the chain does.
    """
    many, chance = _sizes(sizes), _seeds(seeds)
    if source is not None and source_data is not None:
        raise UsageError("--source and --source-data: one of the two", hint="--source RUN is trained already")
    if isinstance(settings, Chain):
        if source is not None or source_data is not None:
            raise UsageError("the recipe has stages, which are the source already", hint="leave out --source")
        *before, last = settings.stages
        if last.command != "finetune" or not before:
            raise UsageError("a curve wants a chain that ends in a finetune stage, with others before it")
        own = last.recipe.model.name is None
        target = replace(last.recipe, model=before[0].recipe.model) if own else last.recipe
        return Plan(target, many, chance, stages=tuple(before), out=settings.out)
    if source_data is not None:
        data = DataRecipe(name=source_data, token_cache=settings.data.token_cache, limit=settings.data.limit)
        stage = Stage(SOURCE, "finetune", replace(settings, data=data, out=None))
        return Plan(settings, many, chance, stages=(stage,), out=settings.out)
    return Plan(settings, many, chance, source=source, out=settings.out)


def _sizes(text: str) -> tuple[str, ...]:
    found = [part.strip().replace("_", "") for part in text.split(",")]
    if not all(part == "all" or (part.isdecimal() and int(part) > 1) for part in found) or len(set(found)) < len(found):
        raise UsageError(f"--sizes is '{text}'; expected numbers of rows, each once, or all", hint="--sizes 50,200,all")
    return tuple(sorted(found, key=lambda part: float("inf") if part == "all" else int(part)))


def _seeds(text: str) -> tuple[int, ...]:
    found = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) < 2**32 for part in found) or len(set(found)) < len(found):
        raise UsageError(f"--seeds is '{text}'; expected whole numbers, each once", hint="--seeds 1,2,3")
    return tuple(int(part) for part in found)


def run(
    plan: Plan, console: Console, *, resume: bool = False, deadline: float | None = None
) -> tuple[Path, dict[str, Any]]:
    """Train the source and every cell that is not done yet; the folder, and the curve as curve.json holds it."""
    prepare_process()
    model, data = require(plan.target)
    folder = open_folder(plan.out, "curve", model, data, resumes=(lambda path: True) if resume else None)
    with folder.locked(console.note):
        folder.open_log()
        try:
            with StopRequest(deadline) as stop, stoppable(stop, folder.path):
                with stop.at_once():
                    curve = begin(plan, folder, console)
                source = train_source(plan, folder.path, console, deadline)
                if source is not None:
                    with naming(SOURCE):
                        curve["source"] = {"name": source, "fingerprint": _fingerprint(source)}
                _check_source(folder.path, curve)
                _train_cells(plan, folder, curve, source, console, stop, deadline)
        except (FtcliError, KeyboardInterrupt) as error:
            logging.getLogger(__name__).error("%s: %s", type(error).__name__, error)
            folder.discard_if_empty()
            raise
        folder.close_log()
    return folder.path, curve


def begin(plan: Plan, folder: RunFolder, console: Console) -> dict[str, Any]:
    """The curve without its cells; everything of the target looked at once, before the source takes its time."""
    seed_everything(plan.target.seed)
    parts = assemble(plan.target, console)
    with naming(SOURCE):
        if plan.source is not None:
            open_source(ModelRecipe(name=plan.source, trust_remote_code=plan.target.model.trust_remote_code))
        if plan.stages and not (folder.path / SOURCE).is_dir():
            chains.check_stages(Chain(plan.stages))
    rows = len(parts.data.splits["train"])
    counts = {size: rows if size == "all" else int(size) for size in plan.sizes}
    beyond = [size for size, count in counts.items() if size != "all" and count >= rows]
    if beyond:
        said = f"{parts.data.name} has {rows:,} rows to train on"
        if "all" not in counts:
            raise UsageError(f"--sizes has {', '.join(beyond)}; {said}", hint="'all' takes all of them")
        console.note(f"{said}: {', '.join(beyond)} left out, all takes them")
    sizes = [size for size in plan.sizes if size not in beyond]
    metric = parts.recipe.eval.metric or parts.task.main_metric
    console.info(f"run folder {folder.path}")
    return {
        "schema": SCHEMA,
        "command": "curve",
        "task": parts.task.name,
        "model": parts.source.name,
        "data": parts.data.name,
        "split": "test" if "test" in parts.data.splits else "validation",
        "metric": metric,
        "better": "lower" if lower_is_better(metric) else "higher",
        "source": None,
        "arms": plan.arms,
        "sizes": sizes,
        "seeds": list(plan.seeds),
        "rows": {size: counts[size] for size in sizes},
        "cells": [],
        "points": [],
    }


def train_source(plan: Plan, folder: Path, console: Console, deadline: float | None) -> str | None:
    """The model that the target is trained from in the second arm; the stages before it run where there are any."""
    if not plan.stages:
        return plan.source
    place = folder / SOURCE
    with naming(SOURCE, place, folder):
        chains.run(Chain(plan.stages, str(place)), console, resume=place.is_dir(), deadline=deadline)
    return str(place)


def _train_cells(
    plan: Plan, folder: RunFolder, curve: dict[str, Any], source: str | None, console: Console, stop: StopRequest,
    deadline: float | None,
) -> None:  # fmt: skip
    """Every cell in turn, those of one seed and size next to each other; what is known is written after each."""
    todo = [(size, seed, arm) for size in curve["sizes"] for seed in plan.seeds for arm in plan.arms]
    for number, (size, seed, arm) in enumerate(todo, start=1):
        stop.leave_if_due()
        recipe = cell(plan, folder.path, arm, size, seed, source)
        what = f"{ARMS[arm]}, {curve['rows'][size]:,} rows, seed {seed}"
        place = Path(str(recipe.out))
        done = nothing_left(RunFolder(place), recipe)
        if not done:
            with naming(what, place, folder.path):
                begun = (place / "recipe.yaml").is_file()
                finetune.run(recipe, Console(quiet=True), resume=begun, deadline=deadline)
            _slim(place)
        report = RunFolder(place).report()
        value = report["metrics"].get(curve["metric"])
        if value is None:
            raise UsageError(f"{what}: its report has no {curve['metric']}")
        said = " (done before)" if done else ""
        console.info(f"cell {number} of {len(todo)}: {what}: {curve['metric']} {value:.4f}{said}")
        curve["cells"].append(
            {"arm": arm, "size": size, "rows": curve["rows"][size], "seed": seed, "value": value,
             "metrics": report["metrics"]}
        )  # fmt: skip
        curve["points"] = points(curve)
        write(folder, curve, console)


def cell(plan: Plan, folder: Path, arm: str, size: str, seed: int, source: str | None) -> Recipe:
    """The recipe of a cell: the target's, with a seed, a number of rows and what it starts from."""
    target = plan.target
    data = target.data if size == "all" else replace(target.data, limit_train=int(size))
    model = target.model
    if arm == "transfer":
        model = ModelRecipe(name=source, trust_remote_code=model.trust_remote_code)
    out = folder / CELLS / f"{arm.replace('_', '-')}-{size}-seed{seed}"
    return replace(target, seed=seed, data=data, model=model, out=str(out))


def _slim(place: Path) -> None:
    """Of a finished cell its reports stay: models and checkpoints of a whole table would fill disks."""
    for name in ("checkpoints", "model"):
        shutil.rmtree(place / name, ignore_errors=True)


def write(folder: RunFolder, curve: dict[str, Any], console: Console) -> None:
    """curve.json, curve.md and curve.png as far as the cells are known."""
    folder.write(RESULT, dumps(curve))
    folder.write("curve.md", as_markdown(curve))
    try:
        write_png(curve, folder.path / "curve.png")
    except (ImportError, OSError) as error:
        console.warn(f"curve.png could not be drawn ({error})")


def _check_source(folder: Path, curve: dict[str, Any]) -> None:
    """UsageError where cells of before were trained from, or on, something else."""
    before: dict[str, Any] = {}
    with suppress(OSError, ValueError, TypeError, RecursionError):
        before = dict(json.loads((folder / RESULT).read_text(encoding="utf-8")))
    for key in ("model", "data", "metric"):
        if key in before and before[key] != curve[key]:
            raise UsageError(
                f"'{folder}' is another curve; {key}: {before[key]} before, {curve[key]} now",
                hint="choose another --out",
            )
    old, new = before.get("source"), curve["source"]
    if old is not None and new is not None and old["fingerprint"] != new["fingerprint"]:
        raise UsageError(
            f"'{folder}' is another curve: its transfer began from {old['name']} with other weights",
            hint="choose another --out",
        )


def _fingerprint(source: str) -> str:
    """SHA-256 over the weights of a local model; of one from the Hub, over its name."""
    location = Path(str(open_source(ModelRecipe(name=source)).location or source))
    digest = hashlib.sha256(b"" if location.is_dir() else source.encode())
    for file in sorted(location.glob("*.safetensors")) if location.is_dir() else ():
        with file.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()


def check(plan: Plan, console: Console) -> dict[str, Any]:
    """`--dry-run`: the source's stages and the largest cell, looked at; nothing is trained or written."""
    facts: dict[str, Any] = {"cells": len(plan.sizes) * len(plan.seeds) * len(plan.arms), "arms": plan.arms}
    if plan.stages:
        with naming(SOURCE):
            facts[SOURCE] = chains.check(Chain(plan.stages), console)
    facts["target"] = finetune.check(plan.target, console)
    return facts
