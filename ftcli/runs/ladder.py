"""`distill.until`: students from small to large, until one is good, small and fast enough."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ftcli.engine import world
from ftcli.engine.checkpoint import link_or_copy
from ftcli.errors import Interrupted, Stopped, UsageError
from ftcli.metrics.gates import check, failures
from ftcli.metrics.until import Clause, check_names, gates, parse
from ftcli.recipe.load import read_recipe, replace
from ftcli.recipe.schema import Recipe
from ftcli.reports.distillation import write_frontier
from ftcli.runs.chain import move_base
from ftcli.runs.environment import prepare_process
from ftcli.runs.folder import RunFolder, open_together
from ftcli.runs.parts import require
from ftcli.runs.results import write_reports
from ftcli.runs.resume import begun_as
from ftcli.runs.shelf import write_recipe
from ftcli.runs.students import rungs
from ftcli.runs.teachers import SELF, teacher_names
from ftcli.runs.trained import inherited, look_up
from ftcli.runs.training import Result
from ftcli.trackers.console import Console

FOLDER = "students"
PICTURE = "frontier.png"
SIZES = ("parameters", "size_mb", "cpu_ms_per_row", "ms_per_row", "ms_per_row_p95", "rows_per_s")
"""What a bound may be on, beside the metrics of the validation split."""


def climb(recipe: Recipe, console: Console, *, resume: bool, deadline: float | None) -> Result:
    """Distill one student after the other into the run folder's students/; the first that has all that `distill.until`
    asks for becomes the run's model. Its report holds every student tried; bounds that none met are its failed gates.

    Quality is that of the validation split: the test split of each is scored, and nothing is chosen by it.
    """
    clauses = parse(str(recipe.distill.until))
    prepare_process()
    check_names(clauses, [*_metrics(recipe), *SIZES])
    ladder = list(rungs(recipe))
    if not ladder:
        raise UsageError(
            "distill.until goes through student.ladder, and there is none",
            hint="--set 'student.ladder=[layers=1, layers=2, layers=3]', small ones first",
        )
    model, data = require(recipe)
    folder = open_together(
        recipe.out, "distill", model, data, resumes=partial(begun_as, recipe=recipe) if resume else None
    )
    with folder.locked(console.note):
        if resume and world.led(lambda: folder.finished):
            return Result(folder, None)
        folder.open_log(world.rank())
        write_recipe(folder, recipe)
        try:
            report = _climb(recipe, clauses, folder, console, deadline)
        except (Stopped, Interrupted) as error:
            hint = f"go on with the same command and --resume --out {folder.path}"
            raise type(error)(error.message, hint=hint) from None
        folder.close_log()
    return Result(folder, report)


def _climb(
    recipe: Recipe, clauses: list[Clause], folder: RunFolder, console: Console, deadline: float | None
) -> dict[str, Any]:
    from ftcli.runs.distill import one

    frontier: list[dict[str, Any]] = []
    reports: list[dict[str, Any]] = []
    for number, (text, name, settings) in enumerate(rungs(recipe), 1):
        path = folder.path / FOLDER / f"{number}-{re.sub(r'[^A-Za-z0-9._=+-]+', '-', text)[-60:]}"
        own = replace(
            recipe, out=str(path), student__ladder=None, distill__until=None, model__name=name or recipe.model.name,
            **{key.replace(".", "__"): value for key, value in settings.items()},
        )  # fmt: skip
        console.info(f"student {number}: {text}")
        result = one(own, console, resume=world.led((path / "recipe.yaml").is_file), deadline=deadline)
        # What the first process measured decides: no two take the same time.
        report = world.from_lead(result.report) or json.loads((path / "report.json").read_text(encoding="utf-8"))
        of_teacher, measured = measures(report, "teacher"), measures(report, "student")
        checked = check(gates(clauses, of_teacher), measured)
        if frontier and measured["parameters"] < frontier[-1]["measured"]["parameters"]:
            console.warn(f"{text} is smaller than {frontier[-1]['student']} before it: list small students first")
        frontier.append(
            {"student": text, "run": str(path.relative_to(folder.path)), "measured": measured, "gates": checked}
        )
        reports.append(report)
        missed = failures(checked)
        console.info(f"student {number}: {text}: {'; '.join(missed) if missed else 'enough'}")
        if not missed:
            break
    met = not failures(frontier[-1]["gates"])
    metric = reports[0]["distillation"]["metric"]
    shown = len(frontier) - 1 if met else max(range(len(frontier)), key=lambda i: frontier[i]["measured"][metric])
    report = reports[shown]
    report["gates"] = frontier[shown]["gates"]
    report["distillation"] |= {
        "until": recipe.distill.until,
        "frontier": frontier,
        "chosen": frontier[shown]["student"] if met else None,
        "teacher_measured": measures(report, "teacher"),
    }
    if met and world.leads():
        _take_over(folder, folder.path / frontier[shown]["run"], recipe)
    try:
        if world.leads():
            write_frontier(report["distillation"], folder.path / PICTURE)
    except (ImportError, OSError) as error:
        console.warn(f"{PICTURE} could not be drawn ({error})")
    write_reports(folder.path, report)
    return report


def measures(report: Mapping[str, Any], role: str) -> dict[str, float]:
    """What was measured of student or teacher, by the names that a bound may have."""
    found = next((model for model in report["distillation"]["models"] if model["role"] == role), None)
    if found is None:
        raise UsageError("distill.until compares students with a teacher, and teacher.name is self")
    return {
        **found["validation"],
        "parameters": found["parameters"],
        "size_mb": found["size_bytes"] / 1e6,
        "cpu_ms_per_row": found["cpu_ms_per_row"],
        "ms_per_row": found["latency_ms"]["p50"],
        "ms_per_row_p95": found["latency_ms"]["p95"],
        "rows_per_s": found["rows_per_s"],
    }


def _metrics(recipe: Recipe) -> list[str]:
    """Names of the metrics of what the first teacher does."""
    name = teacher_names(str(recipe.teacher.name))[0][0]
    if name == SELF:
        raise UsageError("distill.until compares students with a teacher, and teacher.name is self")
    task: Any = look_up(inherited(name, {}, "")).task
    return list(task.metric_names())


def _take_over(folder: RunFolder, student: Path, recipe: Recipe) -> None:
    """The student's model as the run's own, and the settings that it is to be used with."""
    folder.model.mkdir(exist_ok=True)
    for file in (student / "model").iterdir():
        link_or_copy(file, folder.model / file.name)
    move_base(student / "model", folder.model)
    for name in ("environment.json", "metrics.jsonl", "differences.jsonl"):
        if (student / name).is_file():
            link_or_copy(student / name, folder.path / name)
    own = read_recipe(student / "recipe.yaml")
    write_recipe(folder, replace(recipe, train__max_length=own["train.max_length"], task=own["task"]))
