"""`ftcli curve`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ftcli.cli.flags import FLAGS, with_flags
from ftcli.cli.options import Budget, DryRun, Json, Out, Quiet, Resume, Set
from ftcli.cli.training import deadline_of
from ftcli.recipe.stages import resolve_run


@with_flags(tuple(name for name in FLAGS if name != "objective"))
def command(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="RECIPE", help="A recipe file (YAML).", show_default=False)
    ] = None,
    sizes: Annotated[
        str, typer.Option("--sizes", metavar="N,...", help="Numbers of training rows; all takes all there are.")
    ] = "50,200,all",
    seeds: Annotated[
        str, typer.Option("--seeds", metavar="N,...", help="Seeds; each chooses its rows, the same for both ways.")
    ] = "1,2,3",
    source: Annotated[
        str | None,
        typer.Option("--source", metavar="RUN|M", help="What transfer starts from.", show_default=False),
    ] = None,
    source_data: Annotated[
        str | None,
        typer.Option(
            "--source-data", metavar="D", help="Or: labelled data to train --model on first.", show_default=False
        ),
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
    """Compare training on a target alone with transfer, at several sizes of its training split.

    Fine-tunes --model on the target, and the same from a source, for each size and seed; prints mean, spread and gain
    and writes curve.json, curve.md and curve.png. Of a recipe with stages the last is the target, those before it are
    the source. --resume skips what is done. Without a source it is the learning curve of one model.

    \b
    Examples:
      ftcli curve recipes/transfer/imdb-reviews.yaml --sizes 50,200,all --seeds 1,2,3
      ftcli curve --model builtin:bert-tiny-en --data builtin:reviews --source runs/imdb
      ftcli curve --model bert-base-cased --data small.csv --source-data imdb --out runs/curve
    """
    settings = resolve_run(recipe, {**flags, "out": out}, set_ or ())
    deadline = deadline_of(budget)
    from ftcli.reports.learning_curve import as_text
    from ftcli.runs import curve
    from ftcli.trackers.console import Console

    console, plan = Console(quiet=quiet), curve.plan(settings, sizes, seeds, source, source_data)
    if dry_run:
        facts = curve.check(plan, console)
        if as_json:
            print(json.dumps(facts, indent=2))
        return
    folder, found = curve.run(plan, console, resume=resume, deadline=deadline)
    if as_json:
        print((folder / curve.RESULT).read_text(encoding="utf-8"), end="")
    else:
        sys.stdout.write(as_text(found))
    console.info(f"\ncurve     {folder / 'curve.png'}, curve.md, curve.json")
