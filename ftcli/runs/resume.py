"""Whether a run may be gone on with: the same recipe, data and model as before, or the difference."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftcli.errors import UsageError
from ftcli.recipe.load import flatten, read_recipe, to_tree
from ftcli.recipe.schema import Recipe
from ftcli.runs.folder import RunFolder
from ftcli.trackers.console import Console

FREE = (
    "out",
    "checkpoint.",
    "log.",
    "eval.batch_size",
    "train.device",
    "train.activation_checkpointing",
    "train.compile",
    "train.max_rollbacks",
    "data.name",
    "model.name",
)
"""Settings that a resumed run may change without computing anything else. Data and model are compared by content."""
RAISED = ("train.epochs", "train.max_steps")
"""Settings that may be raised: the run goes on for longer."""


def nothing_left(folder: RunFolder, recipe: Recipe) -> bool:
    """True for a finished run that is not asked to train for longer."""
    if not folder.finished:
        return False
    before = read_recipe(folder.path / "recipe.yaml")
    return not any(_higher(getattr(recipe.train, key.split(".")[1]), before.get(key)) for key in RAISED)


def check_same(folder: Path, recipe: Recipe, fingerprints: Mapping[str, Any], console: Console) -> None:
    """UsageError, showing the difference, where the run in `folder` is not the one asked for."""
    file = folder / "recipe.yaml"
    if not file.is_file():
        return
    before, now = read_recipe(file), flatten(to_tree(recipe), "recipe")
    different = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if old == new or key.startswith(FREE):
            continue
        if key in RAISED and _higher(new, old):
            console.note(f"{key} is {new} now, {old} before")
            continue
        different.append(f"{key}: {old} before, {new} now")
    known = _known_fingerprints(folder)
    for kind, old in sorted(known.items()):
        if old != (new := _flat(fingerprints).get(kind)):
            different.append(f"{kind}: content {str(old)[:12]} before, {str(new)[:12]} now")
    if different:
        raise UsageError(
            f"'{folder}' is another run; it cannot be resumed as this one:\n" + "\n".join(f"  {d}" for d in different),
            hint=f"ftcli finetune {file} --resume --out {folder} goes on as it began; or choose another --out",
        )


def _higher(new: Any, old: Any) -> bool:
    """True where `new` asks for more than `old` did; None asks for as much as there is."""
    return new is not None and old is not None and new > old


def _known_fingerprints(folder: Path) -> dict[str, str]:
    try:
        environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
        return _flat(environment["fingerprints"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _flat(fingerprints: Mapping[str, Any]) -> dict[str, str]:
    """``{"model": ..., "data train": ...}``."""
    data = fingerprints.get("data", {})
    return {"model": fingerprints.get("model", ""), **{f"data {split}": data[split] for split in data}}
