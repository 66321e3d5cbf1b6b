"""A model that already does a task, opened for evaluation and prediction."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from ftcli.contract import Column, Task
from ftcli.data.columns import told
from ftcli.engine.forward import speed_up
from ftcli.engine.precision import Precision, pick_device, pick_precision
from ftcli.engine.seeding import seed_everything
from ftcli.errors import UsageError
from ftcli.models.load import Source, open_source
from ftcli.recipe.load import build, read_recipe
from ftcli.recipe.schema import Recipe
from ftcli.runs.parts import runs_unpadded, task_class
from ftcli.runs.recognise import by_modality
from ftcli.tasks import TASKS
from ftcli.tasks.task import saved_facts

INHERITED = (
    "task", "objective", "seed", "pretrain.", "generation.", "data.", "train.max_length", "eval.", "long.",
    "multi_label.", "regression.", "tags.", "qa.", "ranking.",
    "audio.", "image.", "detection.", "seq2seq.", "chat.system",
)  # fmt: skip
"""Settings of the training run that its evaluation and prediction start from."""
UNLIMITED = ("data.limit", "data.limit_train")
"""Settings of its data that they do not."""


@dataclass(frozen=True)
class Known:
    """What is known of a trained model before its weights are read."""

    recipe: Recipe
    source: Source
    task: Task
    precision: Precision


@dataclass(frozen=True)
class Trained(Known):
    """A task, its model and where it runs."""

    model: nn.Module


def inherited(model: str, given: dict[str, Any], data: str | None) -> Recipe:
    """The recipe of a command on `model`: the run's own settings where it is a run folder, below what is given.

    `data` is what the command reads, None for the run's own; other data takes over none of the settings of columns
    and files (but see `known_columns`).
    """
    values: dict[str, tuple[Any, str]] = {}
    another = given.get("task") not in (None, "auto")  # than what it was pretrained by
    file = Path(model).expanduser() / "recipe.yaml"
    if file.is_file():
        own = read_recipe(file)
        other_data = not _same(data, own.get("data.name"))
        for path, value in own.items():
            if path in UNLIMITED or (other_data and path.startswith("data.")):
                continue
            if path == "objective" and another:
                continue
            if path.startswith(INHERITED):
                values[path] = (value, str(file))
    values.update({path: (value, "") for path, value in given.items() if value is not None})
    values["model.name"] = (model, "")
    return build(values)


def known_columns(trained: Known) -> tuple[Column, ...]:
    """The task's columns, looked for first under the names they had in the run's own data."""
    own = _own_settings(trained.source.run)
    data = build({path: (value, "") for path, value in own.items() if path.startswith("data.")}).data
    names = {role: name for role, name in told(data, trained.task.columns).items() if not name.isdecimal()}
    return tuple(
        replace(column, names=(names[column.role].strip().lower(), *column.names)) if column.role in names else column
        for column in trained.task.columns
    )


def left_behind(trained: Known, data: str | None) -> str | None:
    """A note where the run's own data was read in another way than `data` is."""
    own, recipe = _own_settings(trained.source.run), trained.recipe.data
    now = {f"data.{name}": getattr(recipe, name) for name in ("columns", "encoding", "delimiter")}
    changed = [path for path, value in now.items() if own.get(path, value) != value]
    if not changed or _same(data, own.get("data.name")):
        return None
    flags = (f"--{path[5:]}" if path[5:] in ("columns", "encoding") else f"--set {path}" for path in changed)
    said = " ".join(f"{flag}={shlex.quote(str(own[path]))}" for flag, path in zip(flags, changed, strict=True))
    return f"the run's own data was read with {said}; give that again if this is alike"


def _own_settings(run: Path | None) -> dict[str, Any]:
    file = run / "recipe.yaml" if run is not None else None
    return read_recipe(file) if file is not None and file.is_file() else {}


def _same(data: str | None, own: Any) -> bool:
    """True for the run's own data: not named at all, by the same name, or by another path to it."""
    if data in (None, own) or own is None:
        return True
    return os.path.exists(str(data)) and os.path.exists(str(own)) and os.path.samefile(str(data), str(own))


_HEADS = {"ForCausalLM": "clm", "LMHeadModel": "clm", "ForMaskedLM": "mlm"}
"""How the names of transformers' model classes end -> the objective that their head was pretrained by."""
_PROBLEMS = {"regression": "regression", "multi_label_classification": "multi-label"}
"""What transformers calls the problem of a head over whole texts -> the task."""


def _as_saved(recipe: Recipe, source: Source) -> Recipe:
    """The recipe with what the model itself says it does, where neither a run nor the user says it."""
    if recipe.objective is not None or recipe.task != "auto":
        return recipe
    config = source.config
    own = saved_facts(config).get("task")
    if isinstance(own, str) and own in TASKS:
        return replace(recipe, task=own)
    saved_as = "".join((config.architectures or [])[:1])
    found = next((objective for head, objective in _HEADS.items() if saved_as.endswith(head)), None)
    if found is not None:
        return replace(recipe, objective=found)
    if saved_as.endswith("ForTokenClassification"):
        return replace(recipe, task="token-classification")
    problem = _PROBLEMS.get(str(getattr(config, "problem_type", None)))
    return replace(recipe, task=problem if problem is not None else by_modality(source))


def open_trained(recipe: Recipe, *, whole: bool = False) -> Trained:
    """The model of ``recipe.model`` with its own labels; UsageError where it has no trained head."""
    return with_weights(look_up(recipe), whole=whole)


def look_up(recipe: Recipe) -> Known:
    """The model named, and the task it does; UsageError where it does none."""
    device = pick_device(recipe.train.device)
    precision = pick_precision(recipe.train.precision, device)
    seed_everything(recipe.seed, deterministic=recipe.train.deterministic)
    source = replace(open_source(recipe.model), unmerged=True)
    recipe = _as_saved(recipe, source)
    if source.from_scratch:
        raise UsageError(f"{source.name} is an architecture without weights", hint="name a trained run or model")
    task: Task = task_class(recipe, source)(source.processor, source.max_length(recipe.train.max_length), recipe)
    task.adopt(source.config)
    return Known(replace(recipe, task=task.name), source, task, precision)


def with_weights(known: Known, *, whole: bool = False) -> Trained:
    """The model itself, on its device; with `whole` its last layer is computed for every token, for whoever looks
    inside."""
    recipe, task, device = known.recipe, known.task, known.precision.device
    model = task.load_model(known.source)
    speed_up(model.to(device), device, unpadded=runs_unpadded(recipe.train), first_only=task.first_only and not whole)
    return Trained(recipe, known.source, task, known.precision, model)
