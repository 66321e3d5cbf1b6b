"""`ftcli finetune`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from ftcli.cli.flags import FLAGS, with_flags
from ftcli.cli.options import Budget, DryRun, Json, Out, Quiet, Resume, Set
from ftcli.cli.processes import in_processes
from ftcli.cli.training import launch


@in_processes
@with_flags(tuple(name for name in FLAGS if name != "objective"))
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
    """Fine-tune a pretrained model on labelled data.

    Trains, keeps the best state on the validation split, scores the test split once and writes the run folder:
    model, reports, metrics, recipe. Settings come from the recipe, flags beat the recipe, --set beats flags.

    \b
    Examples:
      ftcli finetune --model bert-base-cased --data imdb
      ftcli finetune --model builtin:bert-tiny-en --data builtin:reviews
      ftcli finetune recipe.yaml --seed 2 --set optimizer.weight_decay=0.1
    """
    launch(
        "finetune", closing, recipe=recipe, flags=flags, out=out, resume=resume, budget=budget, dry_run=dry_run,
        set_=set_, quiet=quiet, as_json=as_json,
    )  # fmt: skip


_SEVERAL = ("pair", "extractive-qa", "multiple-choice", "ranking")
"""Tasks whose rows have several texts."""

FILES = {
    "image-classification": "IMAGE.png",
    "object-detection": "IMAGE.png",
    "audio-classification": "SOUND.wav",
    "ctc-asr": "SOUND.wav",
    "seq2seq-asr": "SOUND.wav",
}
"""What a task is shown in the command to predict with, where that is no file of texts."""


def closing(run: Path, data: str, report: dict[str, Any]) -> list[str]:
    """Where the run is, how good it is, and what to do next."""
    found, split = report["metrics"], report["data"]["split"]
    one_label = report.get("confusion_matrix") is not None and "f1_macro" in found
    metric = "f1_macro" if one_label else next((name for name in found if name != "loss"), "loss")
    value = "n/a" if found[metric] is None else f"{found[metric]:.4f}"
    file = to_predict_from(report["task"])
    name, own = shlex.quote(str(run)), f"--data {shlex.quote(data)}" if split == "test" else "--data TEST.csv"
    return [
        "",
        f"run       {run}  ({metric} {value} on {split})",
        f"evaluate  ftcli evaluate {name} {own}",
        f"predict   ftcli predict {name} {file}",
        f"repeat    ftcli finetune {shlex.quote(f'{run}/recipe.yaml')}",
    ]


def to_predict_from(task: str) -> str:
    """A file of the kind that a task is predicted from."""
    return FILES.get(task, "INPUT.jsonl" if task in _SEVERAL else "INPUT.txt")
