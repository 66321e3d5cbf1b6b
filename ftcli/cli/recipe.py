"""`ftcli recipe`: what a recipe resolves to, and every key there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ftcli.cli.options import Json, Set
from ftcli.recipe.json_schema import json_schema
from ftcli.recipe.load import resolve, to_tree, to_yaml

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
    recipe = resolve(file, {}, set_ or (), shown=True)
    typer.echo(json.dumps(to_tree(recipe), indent=2) if as_json else to_yaml(recipe), nl=as_json)


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of recipes, for editors.

    They complete and check YAML with it.
    """
    typer.echo(json.dumps(json_schema(), indent=2))
