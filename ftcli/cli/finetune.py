"""`ftcli finetune`."""

from __future__ import annotations

import json
import logging
import shlex
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ftcli.cli.flags import FLAGS, with_flags
from ftcli.cli.options import Json, Out, Quiet, Set
from ftcli.cli.render import show_report
from ftcli.recipe.duration import parse_duration
from ftcli.recipe.load import resolve

STARTED = time.monotonic()
"""When this process began, near enough: a budget counts from here."""


@with_flags(tuple(FLAGS))
def command(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="RECIPE", help="A recipe file (YAML).", show_default=False)
    ] = None,
    out: Out = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out from its newest checkpoint.")
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget", metavar="TIME", help="Save and stop (exit 75) before so much time is over: 50m, 1h30m."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, estimate memory and time, train nothing.")
    ] = False,
    set_: Set = None,
    quiet: Quiet = False,
    as_json: Json = False,
    *,
    flags: dict[str, Any],
) -> None:
    """Fine-tune a pretrained model on labelled data.

    Trains, keeps the best state on the validation split, scores the test split once and writes the run folder:
    model, reports, metrics, recipe. Settings come from the recipe, flags beat the recipe, --set beats flags.

    \b
    Examples:
      ftcli finetune --model bert-base-cased --data imdb
      ftcli finetune --model preset:bert-tiny --data builtin:reviews --epochs 5
      ftcli finetune recipe.yaml --seed 2 --set optimizer.weight_decay=0.1
    """
    deadline = STARTED + parse_duration(budget, "--budget") if budget is not None else None
    if resume and recipe is None and out is not None and flags.get("model.name") is None:
        own = Path(out) / "recipe.yaml"
        recipe = own if own.is_file() else None
    settings = resolve(recipe, {**flags, "out": out}, set_ or ())
    from ftcli.runs import finetune
    from ftcli.trackers.console import Console

    console = Console(quiet=quiet)
    if dry_run:
        facts = finetune.check(settings, console)
        if as_json:
            print(json.dumps(facts, indent=2))
        return
    result = finetune.run(settings, console, resume=resume, deadline=deadline)
    if result.report is None:
        if as_json:  # a document either way: that of the run as it was finished
            print((result.folder.path / "report.json").read_text(encoding="utf-8"), end="")
        return
    show_report(result.report, as_json=as_json)
    for line in closing(result.folder.path, settings.data.name or "", result.report):
        console.info(line)


def closing(run: Path, data: str, report: dict[str, Any]) -> list[str]:
    """Where the run is, how good it is, and what to do next."""
    metric = "f1_macro" if "f1_macro" in report["metrics"] else next(iter(report["metrics"]))
    split = report["data"]["split"]
    name, own = shlex.quote(str(run)), f"--data {shlex.quote(data)}" if split == "test" else "--data TEST.csv"
    return [
        "",
        f"run       {run}  ({metric} {report['metrics'][metric]:.4f} on {split})",
        f"evaluate  ftcli evaluate {name} {own}",
        f"predict   ftcli predict {name} INPUT.txt",
        f"repeat    ftcli finetune {shlex.quote(f'{run}/recipe.yaml')}",
    ]


def log_file() -> Path | None:
    """The log of the run under way, for the traceback of a bug."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            return Path(handler.baseFilename)
    return None
