"""`ftcli evaluate`: a trained model scored on a split; a gate for CI pipelines."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftcli.contract import Column, Data, Example
from ftcli.data.columns import flag_of
from ftcli.data.load import load as load_data
from ftcli.data.sources import has_split
from ftcli.errors import DataError, UsageError
from ftcli.metrics.gates import Gate, check
from ftcli.models.methods.base import Method
from ftcli.recipe.load import read_recipe
from ftcli.recipe.schema import DataRecipe, Recipe
from ftcli.runs.encode import encode, held_out
from ftcli.runs.environment import describe, prepare_process
from ftcli.runs.folder import open_together
from ftcli.runs.parts import Parts, drop_unknown, gathers, label_names
from ftcli.runs.results import build_report, score, write_reports
from ftcli.runs.trained import Known, Trained, known_columns, left_behind, open_trained
from ftcli.text import visible
from ftcli.trackers.console import Console


def seen_in_training(run: Path | None, data: Data, recipe: DataRecipe, split: str) -> str | None:
    """A warning where the rows to be scored are, or hold, rows that the run trained on."""
    facts = run / "environment.json" if run is not None else None
    if facts is None or not facts.is_file() or split not in data.fingerprints:
        return None
    try:
        known = dict(json.loads(facts.read_text(encoding="utf-8"))["fingerprints"]["data"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return f"{facts} cannot be read: whether this run was trained on these rows is not known"
    if data.fingerprints[split] == known.get("train"):
        return f"{data.name} ({split}) is what this run was trained on: its score says nothing about new rows"
    if run is None or not known or split in known:
        return None
    own = read_recipe(run / "recipe.yaml")
    # Pretraining reads no test split: it may be there all the same.
    if own.get("data.name") == data.name and not (own.get("objective") and has_split(recipe, split)):
        return f"{data.name} is what this run was trained on and has no split '{split}': training rows are scored too"
    return None


def check_answers(data: Data, columns: Sequence[Column]) -> None:
    """DataError where there is nothing to compare answers with."""
    answers = [column for column in columns if column.answer]
    if answers and answers[0].role not in data.columns and answers[0].unless not in data.columns:
        raise DataError(
            f"{data.name} has no {answers[0].role} column to compare with",
            hint=data.hint or f"{flag_of(answers[0])}NAME",
        )


def run(recipe: Recipe, console: Console, *, split: str, gates: Sequence[Gate], out: str | None) -> dict[str, Any]:
    """Score `split` and return the report, its gates checked; written to `out` where one is given."""
    prepare_process()
    if not recipe.data.name:
        raise UsageError("no data given", hint="--data imdb, a file or folder, or --data builtin:reviews")
    folder = open_together(out, "evaluate", str(recipe.model.name), recipe.data.name) if out else None
    try:
        trained = open_trained(recipe)
        data = load(trained, split)
        say(trained, data, split, console)
        parts = assembled(trained, data, console)
        examples = examples_of(parts, split, console)
        began = time.perf_counter()
        evaluation = score(parts, split, examples, console, bootstrap=recipe.eval.bootstrap)
        seconds = time.perf_counter() - began
        report = build_report("evaluate", parts, split, evaluation, seconds, gates=check(gates, evaluation.metrics))
        if folder is not None:
            facts = describe(trained.precision, recipe=recipe, fingerprints={"data": dict(data.fingerprints)})
            folder.write_json("environment.json", facts)
            if parts.data.skipped:
                folder.write("skipped.txt", "".join(f"{visible(p)}\n" for p in parts.data.skipped))
            write_reports(Path(folder.path), report)
        return report
    finally:
        if folder is not None:
            folder.discard_if_empty()


def load(known: Known, split: str) -> Data:
    """The split's rows as the model's task takes them; DataError where there is no such split or no answers."""
    recipe = known.recipe
    columns, fault = known_columns(known), known.task.row_fault
    data = load_data(
        recipe.data, columns, seed=recipe.seed, splits=(split,), row_fault=fault, gathers=gathers(known.task)
    )
    if split not in data.splits:
        raise DataError(f"{data.name} has no split '{split}'", hint=f"--split {next(iter(data.splits), 'train')}")
    check_answers(data, known.task.columns)
    return data


def say(known: Known, data: Data, split: str, console: Console) -> None:
    """What was chosen when the data was read, and whether the model was trained on it."""
    if note := left_behind(known, known.recipe.data.name):
        console.note(note)
    for note in data.notes:
        console.note(note)
    if seen := seen_in_training(known.source.run, data, known.recipe.data, split):
        console.warn(seen)


def assembled(trained: Trained, data: Data, console: Console) -> Parts:
    """The model with the rows that it can be scored on."""
    recipe = trained.recipe
    if aligned := trained.task.align(label_names(recipe.data, data)):
        console.warn(aligned)
    data = drop_unknown(trained.task, data, recipe.data)
    if data.skipped:
        console.warn(f"{len(data.skipped):,} rows skipped; the first: {data.skipped[0]}")
    precision, method = trained.precision, Method(recipe.method)
    return Parts(
        recipe, trained.source, data, trained.task, trained.model, method, [], precision, precision, trained.task
    )


def examples_of(parts: Parts, split: str, console: Console) -> Sequence[Example]:
    """The split encoded as the model is scored on it."""
    encoded = encode if parts.recipe.objective is None else held_out
    return encoded(parts, split, console)
