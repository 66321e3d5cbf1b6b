"""`ftcli distill`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from ftcli.cli.finetune import to_predict_from
from ftcli.cli.flags import DISTILLING, with_flags
from ftcli.cli.options import Budget, DryRun, Json, Out, Quiet, Resume, Set
from ftcli.cli.processes import in_processes
from ftcli.cli.training import launch


@in_processes
@with_flags(tuple(DISTILLING), DISTILLING)
def command(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="RECIPE", help="A recipe file (YAML).", show_default=False)
    ] = None,
    out: Out = None,
    resume: Resume = False,
    budget: Budget = None,
    dry_run: DryRun = False,
    set_: Set = None,
    quiet: Quiet = False,
    as_json: Json = False,
    *,
    flags: dict[str, Any],
) -> None:
    """Have a small model learn a task from a large one that does it already.

    Trains the student on its teacher's answers and on the labels, scores both on the test split and puts quality, size
    and speed side by side. Without --student it is made of the teacher's own layers (student.layers). The run folder
    is like any other: evaluate, predict and finetune take it.

    \b
    Examples:
      ftcli distill --teacher runs/big --student preset:bert-tiny --data imdb
      ftcli distill --teacher runs/big --set student.layers=3 --data imdb --baseline
      ftcli distill recipe.yaml --until "f1_macro >= teacher - 0.01 and cpu_ms_per_row <= 2"
    """
    launch(
        "distill", closing, recipe=recipe, flags=flags, out=out, resume=resume, budget=budget, dry_run=dry_run,
        set_=set_, quiet=quiet, as_json=as_json,
    )  # fmt: skip


def closing(run: Path, data: str, report: dict[str, Any]) -> list[str]:
    """Where the run is, how good the student is beside its teacher, and what to do next."""
    about = report["distillation"]
    metric, split = about["metric"], report["data"]["split"]
    kept = "" if about["kept"] is None else f", {100 * about['kept']:.1f} % of the teacher's"
    value = "n/a" if report["metrics"][metric] is None else f"{report['metrics'][metric]:.4f}"
    file = to_predict_from(report["task"])
    name, own = shlex.quote(str(run)), f"--data {shlex.quote(data)}" if split == "test" else "--data TEST.csv"
    return [
        "",
        f"run       {run}  ({metric} {value} on {split}{kept})",
        f"evaluate  ftcli evaluate {name} {own}",
        f"predict   ftcli predict {name} {file}",
        f"repeat    ftcli distill {shlex.quote(f'{run}/recipe.yaml')}",
    ]
