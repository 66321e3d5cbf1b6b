"""`ftcli evaluate`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ftcli.cli.flags import SCORING, given_values, with_flags
from ftcli.cli.options import Json, Out, Quiet, Set
from ftcli.cli.processes import in_processes
from ftcli.cli.render import show_report
from ftcli.errors import GateError

_FLAGS = (
    "data", "task", "objective", "batch-size", "max-length", "long", "seed", "precision", "device", "limit",
    "text-column", "label-column", "columns", "encoding", "on-bad-row", "trust-remote-code",
)  # fmt: skip


@in_processes
@with_flags(_FLAGS, SCORING)
def command(
    model: Annotated[str, typer.Argument(metavar="RUN|M", help="A run folder, a model folder or a Hub name.")],
    split: Annotated[str, typer.Option("--split", help="Split to score.")] = "test",
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-under",
            metavar="METRIC=VALUE",
            help="Exit 4 when the metric is lower (a loss: higher); >= and <= also work. Repeatable.",
        ),
    ] = None,
    out: Out = None,
    set_: Set = None,
    quiet: Quiet = False,
    as_json: Json = False,
    *,
    flags: dict[str, Any],
) -> None:
    """Score a trained model and print the classification report.

    Without --data a run is scored on its own data set.

    \b
    Examples:
      ftcli evaluate runs/first
      ftcli evaluate runs/first --data test.csv --fail-under f1_macro=0.9 --fail-under accuracy=0.9
      ftcli evaluate some/model --data imdb --json
    """
    from ftcli.metrics.gates import failures, parse

    gates = [parse(text) for text in fail_under or ()]
    values = given_values(flags, set_ or ())
    from ftcli.runs import evaluate
    from ftcli.runs.together import together
    from ftcli.runs.trained import inherited
    from ftcli.trackers.console import Console

    recipe = inherited(model, values, values.get("data.name"))
    console = Console(quiet=quiet)
    with together(recipe.distributed, console):
        report = evaluate.run(recipe, console, split=split, gates=gates, out=out)
    show_report(report, as_json=as_json)
    missed = failures(report["gates"])
    if missed:
        raise GateError(f"gate not met: {'; '.join(missed)}")
