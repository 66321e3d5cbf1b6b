"""`ftcli pretrain`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from ftcli.cli.flags import with_flags
from ftcli.cli.options import Budget, DryRun, Json, Out, Quiet, Resume, Set
from ftcli.cli.processes import in_processes
from ftcli.cli.training import launch

FLAGS = (
    "model", "objective", "epochs", "max-steps", "batch-size", "lr", "max-length", "seed", "precision", "device",
    "limit", "text-column", "columns", "encoding", "on-bad-row", "trust-remote-code",
)  # fmt: skip


@in_processes
@with_flags(FLAGS)
def command(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="RECIPE", help="A recipe file (YAML).", show_default=False)
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="D",
            help="Unlabelled texts: a Hub name, file, folder or builtin:NAME; several as D=WEIGHT.",
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
    """Pretrain a model on unlabelled data, from scratch (preset:NAME) or from where a checkpoint stands.

    Holds a part of the data out, trains with answers drawn from the data itself, keeps the best state on the held-out
    part and writes the run folder. What comes out goes into `ftcli finetune --model RUN`.

    \b
    Examples:
      ftcli pretrain --model preset:bert-mini --data reviews.parquet
      ftcli pretrain --model bert-base-cased --data ./texts --max-steps 10000
      ftcli pretrain --model preset:bert-tiny --data a.txt=0.7 --data b.jsonl=0.3 --objective mlm+nsp
    """
    flags = {**flags, "data.name": ",".join(data) if data else None}
    launch(
        "pretrain", closing, recipe=recipe, flags=flags, out=out, resume=resume, budget=budget, dry_run=dry_run,
        set_=set_, quiet=quiet, as_json=as_json,
    )  # fmt: skip


def closing(run: Path, data: str, report: dict[str, Any]) -> list[str]:
    """Where the run is, how good it is, and what to do next."""
    name, metrics = shlex.quote(str(run)), report["metrics"]
    # Of several losses, unigrams have an answer to the one over tokens.
    loss = next((value for name, value in metrics.items() if name.endswith("_loss")), None)
    told = f"loss {metrics['loss']:.4f} on {report['data']['split']}"
    if (unigrams := metrics.get("unigram_loss")) is not None:
        several = f"; over tokens {loss:.4f}" if loss != unigrams else ""
        told += f"{several}, {unigrams:.4f} by unigrams"
    if (mean := metrics.get("mean_image_loss")) is not None:
        told += f", {mean:.4f} by the mean image"
    file = "IMAGE.png" if report["task"] == "masked-image" else "INPUT.txt"
    return [
        "",
        f"run       {run}  ({told})",
        f"finetune  ftcli finetune --model {name} --data D",
        f"predict   ftcli predict {name} {file}",
        f"repeat    ftcli pretrain {shlex.quote(f'{run}/recipe.yaml')}",
    ]
