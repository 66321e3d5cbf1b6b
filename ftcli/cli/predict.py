"""`ftcli predict`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from ftcli.cli.flags import SCORING, given_values, with_flags
from ftcli.cli.options import Json, Quiet, Set
from ftcli.cli.processes import in_processes
from ftcli.errors import DataError

_FLAGS = (
    "task", "objective", "batch-size", "max-length", "long", "precision", "device", "text-column", "columns",
    "encoding", "candidates", "trust-remote-code",
)  # fmt: skip


WatchRate = Annotated[
    list[str] | None,
    typer.Option(
        "--watch-rate",
        metavar="LABEL>SHARE/WINDOW",
        help="Alert on stderr when more than SHARE of the last WINDOW records are LABEL (also >=, <, <=), once the "
        "window is full; exit 4 in the end. One alert a crossing, another after the rate went back (to BACK: "
        "LABEL>SHARE:BACK/WINDOW). Repeatable.",
    ),
]
AlertsFile = Annotated[
    str | None, typer.Option("--alerts", metavar="FILE", help="Also add a JSON line per alert to this file.")
]


@in_processes
@with_flags(_FLAGS, SCORING)
def command(
    model: Annotated[str, typer.Argument(metavar="RUN|M", help="A run folder, a model folder or a Hub name.")],
    source: Annotated[
        str | None,
        typer.Argument(metavar="INPUT|-", help="Text lines, JSON lines or any data; - is stdin.", show_default=False),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", metavar="FILE|-", help="Where to write; stdout when not given.")
    ] = None,
    draw: Annotated[
        str | None,
        typer.Option("--draw", metavar="DIR", help="Also draw each image with its boxes, into this folder."),
    ] = None,
    watch_rate: WatchRate = None,
    alerts: AlertsFile = None,
    set_: Set = None,
    quiet: Quiet = False,
    as_json: Json = False,
    *,
    flags: dict[str, Any],
) -> None:
    """Predict: a JSON object out per record in, as a stream.

    Answers come in the order of the records; one that cannot be used gives {"error", "line"} and, at the end, exit 3
    (4 where a rate that is watched gave an alert).

    \b
    Examples:
      echo "a fine film" | ftcli predict runs/first
      ftcli predict runs/first reviews.csv --output predictions.jsonl
      zcat log.txt.gz | ftcli predict runs/first | grep negative
      ftcli predict runs/replies questions.txt --candidates replies.txt
      tail -f log.txt | ftcli predict runs/first --watch-rate 'negative>0.3/100'
    """
    values = given_values(flags, set_ or ())
    from ftcli.runs import predict
    from ftcli.runs.alerts import Alerts
    from ftcli.runs.together import together
    from ftcli.runs.trained import inherited
    from ftcli.trackers.console import Console

    recipe = inherited(model, values, source or "-")
    console = Console(quiet=quiet)
    watched = Alerts(watch_rate or (), alerts, console)
    with together(recipe.distributed, console):
        failed = predict.run(
            recipe, console, source=source, output=output, stdout=sys.stdout, draw=draw, alerts=watched
        )
    watched.settle(failed)
    if failed:
        records = "record" if failed == 1 else "records"
        raise DataError(f"{failed:,} {records} could not be used; an 'error' line stands in the place of each")
