"""`ftcli recipe`: what a recipe resolves to, and every key there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ftcli.cli.options import Json, Set
from ftcli.recipe.json_schema import json_schema
from ftcli.recipe.load import dump, to_tree
from ftcli.recipe.stages import Chain, chain_tree, resolve_run

app = typer.Typer(help="Show and describe recipes.", rich_markup_mode=None, no_args_is_help=True)


@app.command("show")
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recipe file (YAML).")],
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Print a recipe with every key filled in.

    Defaults, and what it takes from the recipes it extends.
    """
    found = resolve_run(file, {}, set_ or (), shown=True)
    tree = chain_tree(found) if isinstance(found, Chain) else to_tree(found)
    typer.echo(json.dumps(tree, indent=2) if as_json else dump(tree), nl=as_json)


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of recipes, for editors.

    They complete and check YAML with it.
    """
    typer.echo(json.dumps(json_schema(), indent=2))
