"""`ftcli predict`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from ftcli.cli.flags import given_values, with_flags
from ftcli.cli.options import Json, Quiet, Set
from ftcli.errors import DataError

_FLAGS = (
    "task", "batch-size", "max-length", "precision", "device", "text-column", "columns", "encoding",
    "trust-remote-code",
)  # fmt: skip


@with_flags(_FLAGS)
def command(
    model: Annotated[str, typer.Argument(metavar="RUN|M", help="A run folder, a model folder or a Hub name.")],
    source: Annotated[
        str | None,
        typer.Argument(metavar="[INPUT|-]", help="Text lines, JSON lines or any data; - is stdin.", show_default=False),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", metavar="FILE|-", help="Where to write; stdout when not given.")
    ] = None,
    set_: Set = None,
    quiet: Quiet = False,
    as_json: Json = False,
    *,
    flags: dict[str, Any],
) -> None:
    """Predict: one JSON object out per record in, in the same order, as a stream.

    \b
    Examples:
      echo "a fine film" | ftcli predict runs/first
      ftcli predict runs/first reviews.csv --output predictions.jsonl
      zcat log.txt.gz | ftcli predict runs/first | grep negative
    """
    values = given_values({k: v for k, v in flags.items() if k != "train.batch_size"}, set_ or ())
    if flags.get("train.batch_size") is not None:
        values["eval.batch_size"] = flags["train.batch_size"]
    from ftcli.runs import predict
    from ftcli.runs.trained import inherited
    from ftcli.trackers.console import Console

    recipe = inherited(model, values)
    failed = predict.run(recipe, Console(quiet=quiet), source=source, output=output, stdout=sys.stdout)
    if failed:
        raise DataError(f"{failed:,} records could not be used; each has an 'error' line in its place")
