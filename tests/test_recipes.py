"""Every recipe that ships is valid, commented, and runs (those with no download, in miniature)."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftcli.recipe.load import resolve

FOLDER = Path(__file__).parent.parent / "recipes"
RECIPES = sorted(FOLDER.rglob("*.yaml"))


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 3


@pytest.mark.parametrize("file", RECIPES, ids=lambda p: str(p.relative_to(FOLDER)))
def test_recipe_is_valid_and_says_what_it_is_for(file: Path) -> None:
    recipe = resolve(file)
    assert recipe.model.name
    assert recipe.data.name
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert any("ftcli " in line for line in lines if line.startswith("#")), "a recipe shows its own command"


@pytest.mark.parametrize("file", RECIPES, ids=lambda p: str(p.relative_to(FOLDER)))
def test_recipe_runs(file: Path, tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    """The recipe's own settings, on its own model and data where those need no download, two steps long."""
    from tests.tiny import run_cli

    recipe = resolve(file)
    arguments = [file.parent.name, str(file), "--max-steps", "2", "--limit", "40", "--out", str(tmp_path / "run")]
    if not str(recipe.model.name).startswith(("preset:", "builtin:")):
        arguments += ["--model", str(tiny_bert_dir), "--max-length", "32"]
    if not str(recipe.data.name).startswith("builtin:"):
        arguments += ["--data", str(reviews_dir)]
    done = run_cli(*arguments, cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert (tmp_path / "run" / "report.json").is_file()
