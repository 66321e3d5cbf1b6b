"""Every recipe that ships is valid, commented, and runs (those with no download, in miniature)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftcli.recipe.schema import Recipe
from ftcli.recipe.stages import Chain, Stage, resolve_run
from tests.tasks.samples import SAMPLES

FOLDER = Path(__file__).parent.parent / "recipes"
RECIPES = sorted(FOLDER.rglob("*.yaml"))


def stages(file: Path) -> tuple[Stage, ...]:
    """The runs of a recipe: one, but for a chain."""
    found = resolve_run(file, {}, ())
    return found.stages if isinstance(found, Chain) else (Stage("", file.parent.name, found),)


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 3
    assert sum(len(stages(file)) > 1 for file in RECIPES) >= 2


@pytest.mark.parametrize("file", RECIPES, ids=lambda p: str(p.relative_to(FOLDER)))
def test_recipe_is_valid_and_says_what_it_is_for(file: Path) -> None:
    assert stages(file)[0].recipe.model.name
    assert all(stage.recipe.data.name for stage in stages(file))
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert any("ftcli " in line for line in lines if line.startswith("#")), "a recipe shows its own command"


def made_for(recipe: Recipe, folder: Path) -> Path | None:
    """Data that a recipe can take; None where reviews do."""
    if recipe.task in ("auto", "text-classification"):
        return None
    sample = SAMPLES[recipe.task]
    if recipe.data.label_pattern is None:
        return sample.data(folder, train=sample.rows(24, 0), validation=sample.rows(24, 1), test=sample.rows(24, 2))
    folder.mkdir()
    for number, row in enumerate(sample.rows(24, 0)):
        (folder / f"{row['label']}_{'ann' if number % 4 else 'bob'}_{number}.wav").write_bytes(row["audio"])
    return folder


@pytest.mark.parametrize("file", RECIPES, ids=lambda p: str(p.relative_to(FOLDER)))
def test_recipe_runs(file: Path, tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    """The recipe's own settings, on its own model and data where those need no download, two steps long."""
    from tests.tiny import KINDS, run_cli, tiny_bert, tiny_model

    found = stages(file)
    distills, first = found[-1].command == "distill", found[0].recipe
    arguments = [found[-1].command, str(file), "--max-steps", "2", "--limit", "40", "--out", str(tmp_path / "run")]
    if not str(first.model.name).startswith(("preset:", "builtin:")):
        kind = SAMPLES[first.task].model if first.task in SAMPLES else "bert"
        model = str(tiny_bert_dir) if kind == "bert" else f"preset:{kind}"
        if kind in KINDS and kind != "bert":
            model = str(tiny_model(kind, tmp_path / "model"))
        arguments += ["--student" if distills and len(found) == 1 else "--model", model]
        if kind in KINDS:
            arguments += ["--max-length", "32" if kind == "bert" else "64"]
    if distills and len(found) == 1 and first.teacher.name != "self":
        teacher = tiny_bert(tmp_path / "teacher", labels=["negative", "positive"])
        arguments += ["--teacher", str(teacher), "--student", str(teacher), "--set", "student.layers=1"]
    for stage in found:
        if not str(stage.recipe.data.name).startswith("builtin:"):
            own = f"stages.{stage.name}." if stage.name else ""
            made = made_for(stage.recipe, tmp_path / f"data-{stage.name or 'own'}")
            arguments += ["--set", f"{own}data.name={made or reviews_dir}"]
            if made is None and stage.recipe.data.columns is not None:
                arguments += ["--set", f"{own}data.columns=text=text,label=label"]
    done = run_cli(*arguments, cwd=tmp_path)
    assert done.code == 0, done.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert len(report.get("stages", [1])) == len(found)
