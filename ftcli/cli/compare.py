"""`ftcli compare`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ftcli.cli.flags import SCORING, given_values, with_flags
from ftcli.cli.options import Json, Out, Quiet, Set
from ftcli.cli.render import show_comparison
from ftcli.errors import GateError, UsageError

_FLAGS = (
    "data", "task", "objective", "batch-size", "max-length", "seed", "precision", "device", "limit", "text-column",
    "label-column", "columns", "encoding", "on-bad-row", "trust-remote-code",
)  # fmt: skip


@with_flags(_FLAGS, SCORING)
def command(
    models: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="Run folders, model folders or Hub names; two or more."),
    ],
    split: Annotated[str, typer.Option("--split", help="Split to score.")] = "test",
    fail_if_worse: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if-worse",
            metavar="METRIC=BY",
            help="Exit 4 when METRIC of any later RUN is lower than that of the first by more than BY (a loss or an "
            "error rate: higher), or when either has no such metric or it is no finite number. What is compared are "
            "the metrics themselves on the rows scored, BY in their own units (0.005 is half a point of accuracy); "
            "intervals and tests play no part. Repeatable.",
        ),
    ] = None,
    flips: Annotated[int, typer.Option("--flips", min=0, help="Rows that flipped to show of each RUN.")] = 10,
    output: Annotated[
        str | None,
        typer.Option("--output", metavar="FILE", help="Write every row that flipped there, as JSON lines."),
    ] = None,
    out: Out = None,
    set_: Set = None,
    quiet: Quiet = False,
    as_json: Json = False,
    *,
    flags: dict[str, Any],
) -> None:
    """Compare trained models on the same rows; the first is the baseline.

    Every model is scored now, on the runs' own test split where they share one, else on --data. Shows metrics, paired
    bootstrap intervals of their differences (--set eval.bootstrap=N resamples), McNemar's exact test, parameters,
    size, time and memory, and the rows that one model has right and the other wrong. --out writes compare.json,
    compare.md and compare.png.

    \b
    Examples:
      ftcli compare runs/full runs/lora
      ftcli compare runs/old runs/new --data new.csv --fail-if-worse f1_macro=0.005
      ftcli compare runs/a runs/b runs/c --flips 0 --output flips.jsonl --out runs/compared
    """
    from ftcli.metrics.gates import failures, parse_margin

    margins = [parse_margin(text) for text in fail_if_worse or ()]
    _check(models, output)
    values = given_values(flags, set_ or ())
    from ftcli.runs import compare
    from ftcli.trackers.console import Console

    recipes = compare.recipes(models, values)
    report = compare.run(
        recipes, Console(quiet=quiet), own_data=values.get("data.name") is None, split=split, margins=margins,
        flips=flips, output=output, out=out,
    )  # fmt: skip
    show_comparison(report, as_json=as_json)
    missed = [f"{said} ({gate['model']})" for gate in report["gates"] for said in failures([gate])]
    if missed:
        raise GateError(f"gate not met: {'; '.join(missed)}")


def _check(models: list[str], output: str | None) -> None:
    if len(models) < 2:
        hint = f"ftcli compare {models[0]} RUN; or ftcli evaluate {models[0]}"
        raise UsageError("one model is nothing to compare", hint=hint)
    if output == "-":
        raise UsageError("--output - would mix rows with the comparison", hint="--output FILE")
