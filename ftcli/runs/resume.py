"""Whether a run may be gone on with: the same recipe, data and model as before, or the difference."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftcli.errors import UsageError
from ftcli.recipe.load import flatten, read_recipe, to_tree
from ftcli.recipe.schema import ROWS_PER_PASS, Recipe
from ftcli.runs.folder import STAGES, RunFolder
from ftcli.text import without_secrets
from ftcli.trackers.console import Console

FREE = (
    "out",
    "stage_cache",
    "checkpoint.",
    "log.",
    "distributed.",
    "generation.",
    "eval.batch_size",
    "teacher.cache",
    "train.device",
    "train.activation_checkpointing",
    "train.compile",
    "train.max_rollbacks",
    "data.name",
    "data.token_cache",
    "model.name",
    "teacher.name",
)
"""Settings that a resumed run may change without computing anything else. Data, model and teachers are compared by
content."""
NAMES = ("model.name", "data.name", "teacher.name")
RAISED = ("train.epochs", "train.max_steps")
"""Settings that may be raised: the run goes on for longer."""
SHARES = ("train.batch_warmup", "train.length_warmup", "regularize.unfreeze", "regularize.swa")
"""Shares of all steps that decide what is in the first ones: with them, a longer run is another one from its start."""
BITS = {"versions": ("torch", "transformers", "tokenizers"), "hardware": ("device", "device_name", "threads")}
"""What in environment.json the last bits of a result depend on."""


def begun_as(folder: Path, recipe: Recipe) -> bool:
    """True where the run in `folder` was asked for as this one is; what `recipe` leaves open matches anything."""
    file = folder / "recipe.yaml"
    if not file.is_file() or (folder / STAGES).is_dir():
        return False
    before = read_recipe(file)
    return all(_settings(recipe)[key] == before.get(key) for key in NAMES) and not differences(before, recipe)


def differences(before: Mapping[str, Any], recipe: Recipe) -> list[str]:
    """What makes `recipe` another run than one by the settings `before`, in words; what it leaves open matches all."""
    return _differences(before, _given(_settings(recipe), before))[0]


def refuse_chain(folder: Path) -> None:
    """UsageError for the folder of a chain, of which a single run cannot be made."""
    if (folder / STAGES).is_dir():
        raise UsageError(
            f"'{folder}' holds a chain of stages, not a single run",
            hint=f"--resume --out {folder} with nothing else goes on with it; or choose another --out",
        )


def nothing_left(folder: RunFolder, recipe: Recipe) -> bool:
    """True for a finished run that is not asked to train for longer, or in another way."""
    if not folder.finished:
        return False
    before = read_recipe(folder.path / "recipe.yaml")
    different, raised = _differences(before, _given(_settings(recipe), before))
    return not different and not raised


def check_same(
    folder: Path,
    recipe: Recipe,
    fingerprints: Mapping[str, Any],
    facts: Mapping[str, Any],
    console: Console,
    command: str,
) -> None:
    """UsageError, showing the difference, where the run in `folder` is not the one asked for."""
    file = folder / "recipe.yaml"
    if not file.is_file():
        return
    different, raised = _differences(read_recipe(file), _settings(recipe))
    for line in raised:
        console.note(line)
    environment = _environment(folder)
    if environment is None:
        console.warn("environment.json cannot be read: whether data and model are the same as before is not known")
    else:
        now = _flat(fingerprints)
        for kind, old in sorted(_flat(environment["fingerprints"]).items()):
            if old != now.get(kind):
                different.append(f"{kind}: content {str(old)[:12]} before, {str(now.get(kind))[:12]} now")
    if different:
        raise UsageError(
            f"'{folder}' is another run; it cannot be resumed as this one:\n" + "\n".join(f"  {d}" for d in different),
            hint=f"ftcli {command} {file} --resume --out {folder} goes on as it began; or choose another --out",
        )
    moved = _moved(environment or {}, facts)
    if moved:
        console.warn(f"the last bits may differ from a run in one place: {'; '.join(moved)}")


def _settings(recipe: Recipe) -> dict[str, Any]:
    """The recipe by dotted path, as its run folder keeps it: without secrets."""
    found = flatten(to_tree(recipe), "recipe")
    return {key: without_secrets(value) if isinstance(value, str) else value for key, value in found.items()}


def _given(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """`now` with what it leaves open as it was chosen `before`."""
    if now.get("train.batch_size") == "auto":  # kept as what it came to
        rows = ROWS_PER_PASS * int(now["train.gradient_accumulation"])
        size = settled_before(before, rows)
        if size is not None:
            now = {**now, "train.batch_size": size, "train.gradient_accumulation": rows // size}
    open_keys = {key for key, value in now.items() if value is None or (key, value) == ("task", "auto")}
    return {key: before.get(key) if key in open_keys else value for key, value in now.items()}


def settled_before(before: Mapping[str, Any], rows_per_step: int) -> int | None:
    """Rows per forward pass that `train.batch_size: auto` came to in a run of as many rows per step; else None."""
    size, times = before.get("train.batch_size"), before.get("train.gradient_accumulation", 1)
    return size if isinstance(size, int) and size * int(times) == rows_per_step else None


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What makes it another run, and what only makes it longer, in words."""
    different, raised = [], []
    fixed = any(before.get(key) for key in SHARES)
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if old == new or key.startswith(FREE):
            continue
        if key in RAISED and _higher(new, old) and not fixed:
            raised.append(f"{key} is {new} now, {old} before")
        else:
            different.append(f"{key}: {old} before, {new} now")
    return different, raised


def _moved(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Versions and hardware on which the bits of a result depend, where they changed."""
    old, new = before.get("precision"), now.get("precision")
    precision = [f"precision {old} before, {new} now"] if old is not None and old != new else []
    return precision + [
        f"{name} {old} before, {new} now"
        for kind, names in BITS.items()
        if isinstance(before.get(kind), Mapping)
        for name in names
        if (old := before[kind].get(name)) != (new := now[kind].get(name))
    ]


def _higher(new: Any, old: Any) -> bool:
    """True where `new` asks for more than `old` did; None asks for as much as there is."""
    return new is not None and old is not None and new > old


def _environment(folder: Path) -> dict[str, Any] | None:
    """environment.json, or None where it is not one."""
    try:
        found = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
        _flat(found["fingerprints"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return dict(found)


def _flat(fingerprints: Mapping[str, Any]) -> dict[str, str]:
    """``{"model": ..., "data train": ...}``."""
    data = fingerprints.get("data", {})
    return {"model": fingerprints.get("model", ""), **{f"data {split}": data[split] for split in data}}
