"""`--batch-size auto`: the rows of a step in as few forward passes as memory allows, found once and remembered."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers

from ftcli.contract import Example
from ftcli.data.examples import lengths
from ftcli.data.token_cache import user_folder
from ftcli.engine.device import is_out_of_memory
from ftcli.engine.memory import Need, largest_that_runs, measure, portions, probe, room
from ftcli.errors import system_error
from ftcli.recipe.load import read_recipe
from ftcli.recipe.load import replace as replace_recipe
from ftcli.runs.folder import write_whole
from ftcli.runs.parts import Parts
from ftcli.runs.resume import settled_before
from ftcli.text import amount
from ftcli.trackers.console import Console


def as_before(parts: Parts, run: Path) -> Parts:
    """For a resumed run: `auto` means what it came to when the run began."""
    file = run / "recipe.yaml"
    if parts.recipe.train.batch_size != "auto" or not file.is_file():
        return parts
    size = settled_before(read_recipe(file), parts.recipe.train.rows_per_step)
    return parts if size is None else _with(parts, size)


def settle(parts: Parts, examples: Sequence[Example], console: Console, *, remember: bool = True) -> Parts:
    """`parts` with `auto` made numbers: rows per pass and passes per step, whose product the recipe says."""
    if parts.recipe.train.batch_size != "auto":
        return parts
    rows = parts.recipe.train.rows_per_step
    sizes = lengths(examples)
    order = sorted(range(len(examples)), key=lambda row: (-sizes[row], row))[:rows]
    longest = [examples[row] for row in order]
    file = user_folder() / "batch_size" / f"{fingerprint(parts, sizes[order[0]])}.json"
    known = _recall(file)
    need = Need(known["fixed"], known["per_row"]) if known else measure(*_passes(parts), longest)
    space = room(parts.model, parts.precision.device)
    fitting = [s for s in portions(rows) if space is None or s <= need.rows_within(space)] or [1]
    if known and known["rows"] in fitting:
        found, how = int(known["rows"]), "as found before"
    else:
        found, how = _verified(parts, fitting, longest), "measured"
        if remember:
            _remember(file, {"rows": found, "fixed": need.fixed, "per_row": need.per_row}, console)
    free = f" of {amount(space)} free" if space is not None else ""
    console.note(
        f"batch size: {rows} rows per step in {rows // found} forward passes of {found}; a row of "
        f"{sizes[order[0]]} tokens takes {amount(need.per_row)}{free} ({how})"
    )
    return _with(parts, found)


def _with(parts: Parts, size: int) -> Parts:
    times = parts.recipe.train.rows_per_step // size
    changed = replace_recipe(parts.recipe, train__batch_size=size, train__gradient_accumulation=times)
    return replace(parts, recipe=changed)


def _passes(parts: Parts) -> tuple[Any, Any, Any]:
    return parts.learner, parts.model, parts.precision


def _verified(parts: Parts, sizes: list[int], longest: list[Example]) -> int:
    """On CUDA, the first of `sizes` that a pass in full runs with; a host would rather kill than refuse."""
    device = parts.precision.device
    if device.type != "cuda":
        return sizes[0]
    moments = [torch.empty_like(p) for p in parts.model.parameters() if p.requires_grad for _ in range(2)]

    def whole(size: int) -> None:
        try:
            probe(*_passes(parts), (longest * size)[:size])
        finally:
            torch.cuda.empty_cache()

    found = largest_that_runs(sizes, whole, is_out_of_memory)
    del moments
    torch.cuda.empty_cache()
    return found


def fingerprint(parts: Parts, width: int) -> str:
    """What the memory of a pass depends on, and the rows asked for, as a file name."""
    config: Any = parts.model.config
    device = parts.precision.device
    facts = {
        "model": type(parts.model).__name__,
        "config": {k: v for k, v in config.to_dict().items() if k not in {"_name_or_path", "id2label", "label2id"}},
        "attention": getattr(config, "_attn_implementation", None),
        "labels": len(config.id2label or ()),
        "width": width,
        "rows": parts.recipe.train.rows_per_step,
        "precision": parts.precision.name,
        "method": parts.recipe.method.name,
        "regularize": dataclasses.asdict(parts.recipe.regularize),
        "recompute": parts.recipe.train.activation_checkpointing,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "versions": [torch.__version__, transformers.__version__],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _recall(file: Path) -> Mapping[str, int] | None:
    """What was found before; None where nothing was, or the file is not one of ours."""
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        return {name: int(known[name]) for name in ("rows", "fixed", "per_row")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(file: Path, finding: Mapping[str, int], console: Console) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(finding) + "\n")
    except Exception as error:
        failure = system_error(error)
        if failure is None:
            raise
        console.note(f"the batch size could not be remembered in {file.parent} ({failure.strerror})")
