"""`ftcli verify-resume`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ftcli.cli.flags import FLAGS, with_flags
from ftcli.cli.options import Json, Quiet, Set
from ftcli.errors import GateError
from ftcli.recipe.load import resolve


@with_flags(tuple(name for name in FLAGS if name not in ("epochs", "max-steps")))
def command(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="RECIPE", help="A recipe file (YAML).", show_default=False)
    ] = None,
    steps: Annotated[int, typer.Option("--steps", help="Steps before and after the interruption.")] = 8,
    set_: Set = None,
    quiet: Quiet = False,
    as_json: Json = False,
    *,
    flags: dict[str, Any],
) -> None:
    """Prove that a run stopped and resumed equals one left alone.

    On a few steps of a recipe: compares batches, random state, losses, scores, weights and optimiser state bit for
    bit; exits 4 on a difference.

    \b
    Examples:
      ftcli verify-resume recipe.yaml
      ftcli verify-resume --model bert-base-cased --data imdb --steps 20 --device cuda
    """
    settings = resolve(recipe, flags, set_ or ())
    from ftcli.runs import verify_resume
    from ftcli.trackers.console import Console

    found = verify_resume.run(settings, Console(quiet=quiet), steps=steps)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        for kind, differences in found["differences"].items():
            print(f"{kind}: {'equal' if not differences else '; '.join(differences[:3])}")
    if not found["passed"]:
        kinds = ", ".join(kind for kind, differences in found["differences"].items() if differences)
        raise GateError(f"the resumed run is not the same: {kinds}", hint="--set train.deterministic=true on a GPU")
